// Documents stringified, parsed, walked and revived.
(() => {
  const make = (id) => ({
    id,
    name: `record ${id} "quoted" \u00e9\u{1f600}`,
    active: id % 3 === 0,
    score: id / 7,
    tags: Array.from({ length: id % 6 }, (_, i) => `tag-${i}`),
    nested: { a: { b: { c: [id, [id + 1, [id + 2]]] } }, none: null },
    when: new Date(1_700_000_000_000 + id * 1000),
  });
  const walk = (value) => {
    if (typeof value === "number") return value | 0;
    if (typeof value === "string") return value.length;
    if (value === null || typeof value !== "object") return 1;
    let sum = 0;
    for (const key of Object.keys(value)) sum = (sum + walk(value[key])) | 0;
    return sum;
  };
  let checksum = 0;
  for (let round = 0; round < 22; round += 1) {
    const text = JSON.stringify(Array.from({ length: 2500 }, (_, i) => make(i + round)));
    const back = JSON.parse(text);
    checksum = (checksum + text.length + walk(back)) | 0;
    const pretty = JSON.stringify(back.slice(0, 400), (key, value) => (key === "none" ? undefined : value), 2);
    const revived = JSON.parse(pretty, (key, value) => (key === "score" ? Math.round(value * 100) : value));
    checksum = (checksum + walk(revived)) | 0;
  }
  console.log(`json ${checksum}`);
})();
