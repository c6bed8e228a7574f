// Map and Set filled, probed and emptied with numbers, strings and objects as keys; sorting and grouping.
(() => {
  let seed = 3;
  const random = (limit) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed >>> 6) % limit;
  };
  let checksum = 0;
  for (let round = 0; round < 6; round += 1) {
    const numbers = new Map();
    const strings = new Map();
    const objects = new Map();
    const seen = new Set();
    const keys = Array.from({ length: 4000 }, (_, i) => ({ i }));
    for (let i = 0; i < 250_000; i += 1) {
      const n = random(30_000);
      numbers.set(n, (numbers.get(n) ?? 0) + 1);
      if ((i & 3) === 0) {
        const name = `key:${n % 5000}`;
        strings.set(name, (strings.get(name) ?? 0) + i);
      }
      const key = keys[n % keys.length];
      objects.set(key, i);
      if (seen.has(n)) seen.delete(n);
      else seen.add(n);
    }
    let sum = 0;
    for (const [key, count] of numbers) sum = (sum + key * count) % 1_000_003;
    for (const [name, total] of strings) sum = (sum + name.length + total) % 1_000_003;
    for (const [key, last] of objects) sum = (sum + key.i + last) % 1_000_003;
    for (const n of seen) sum = (sum + n) % 1_000_003;
    const sorted = [...numbers].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    sum += sorted[10][0];
    const groups = Object.groupBy(sorted, ([key]) => `g${key % 97}`);
    for (const name of Object.keys(groups)) sum = (sum + groups[name].length * name.length) % 1_000_003;
    const union = new Set([...seen].filter((n) => numbers.get(n) > 8));
    checksum = (checksum * 31 + sum + union.size) % 1_000_003;
  }
  console.log(`collections ${checksum}`);
})();
