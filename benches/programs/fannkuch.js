// Prefix reversals over all permutations: small integer arrays and branches.
(() => {
  const size = 10;
  const counts = new Int32Array(size);
  const order = Array.from({ length: size }, (_, i) => i);
  let best = 0;
  let checksum = 0;
  let sign = 1;
  const flips = () => {
    const work = order.slice();
    let steps = 0;
    while (work[0] !== 0) {
      for (let low = 0, high = work[0]; low < high; low += 1, high -= 1) {
        const kept = work[low];
        work[low] = work[high];
        work[high] = kept;
      }
      steps += 1;
    }
    return steps;
  };
  for (let round = 0; round < 2; round += 1) {
    counts.fill(0);
    for (let i = 0; i < size; i += 1) order[i] = i;
    for (;;) {
      const steps = flips();
      best = Math.max(best, steps);
      checksum = (checksum + sign * steps * (round + 1)) | 0;
      sign = -sign;
      // Next permutation by rotating ever longer prefixes.
      let length = 1;
      for (;;) {
        if (length === size) break;
        const first = order[0];
        for (let i = 0; i < length; i += 1) order[i] = order[i + 1];
        order[length] = first;
        counts[length] += 1;
        if (counts[length] <= length) break;
        counts[length] = 0;
        length += 1;
      }
      if (length === size) break;
    }
  }
  console.log(`fannkuch ${best} ${checksum}`);
})();
