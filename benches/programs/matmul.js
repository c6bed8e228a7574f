// Matrix product and a power iteration on typed arrays: bounds checks and memory order.
(() => {
  const size = 420;
  const a = new Float64Array(size * size);
  const b = new Float64Array(size * size);
  for (let i = 0; i < a.length; i += 1) {
    a[i] = ((i * 31) % 97) / 97;
    b[i] = ((i * 17) % 89) / 89;
  }
  const multiply = (left, right) => {
    const out = new Float64Array(size * size);
    for (let i = 0; i < size; i += 1) {
      for (let k = 0; k < size; k += 1) {
        const factor = left[i * size + k];
        for (let j = 0; j < size; j += 1) out[i * size + j] += factor * right[k * size + j];
      }
    }
    return out;
  };
  let product = a;
  for (let round = 0; round < 6; round += 1) {
    product = multiply(product, b);
    let largest = 0;
    for (const value of product) largest = Math.max(largest, Math.abs(value));
    for (let i = 0; i < product.length; i += 1) product[i] /= largest;
  }
  let vector = new Float64Array(size).fill(1);
  for (let round = 0; round < 100; round += 1) {
    const next = new Float64Array(size);
    let norm = 0;
    for (let i = 0; i < size; i += 1) {
      let sum = 0;
      for (let j = 0; j < size; j += 1) sum += product[i * size + j] * vector[j];
      next[i] = sum;
      norm += sum * sum;
    }
    norm = Math.sqrt(norm);
    vector = next.map((value) => value / norm);
  }
  let checksum = 0;
  for (let i = 0; i < size; i += 1) checksum += vector[i] * (i + 1);
  console.log(`matmul ${checksum.toFixed(6)}`);
})();
