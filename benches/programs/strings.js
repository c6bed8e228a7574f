// Text built piece by piece, flattened, cut, compared and turned into other text.
(() => {
  let seed = 99;
  const random = (limit) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed >>> 8) % limit;
  };
  const words = Array.from({ length: 500 }, (_, i) => `w${(i * 7919).toString(36)}${i % 11 === 0 ? "\u00df" : ""}`);
  let checksum = 0;
  const add = (value) => {
    checksum = (Math.imul(checksum, 31) + value) | 0;
  };
  for (let round = 0; round < 22; round += 1) {
    let text = "";
    for (let i = 0; i < 60_000; i += 1) text += `${words[random(words.length)]}${i % 12 === 11 ? ".\n" : " "}`;
    add(text.length);
    let hash = 0;
    for (let i = 0; i < text.length; i += 1) hash = (Math.imul(hash, 33) ^ text.charCodeAt(i)) | 0;
    add(hash);
    const lines = text.split("\n").map((line) => line.trim());
    lines.sort();
    add(lines[lines.length >> 1].length);
    const table = lines.map((line, i) => `${String(i).padStart(6, "0")}|${line.slice(0, 30).padEnd(34)}|${line.toUpperCase().length}`).join("\n");
    add(table.length);
    let found = 0;
    for (let at = table.indexOf("w1"); at !== -1; at = table.indexOf("w1", at + 2)) found += 1;
    add(found);
    add([...table.slice(0, 40_000)].reverse().join("").codePointAt(1234));
    add(table.replaceAll("|", " | ").length);
    add(encodeURIComponent(table.slice(0, 60_000)).length);
  }
  console.log(`strings ${checksum}`);
})();
