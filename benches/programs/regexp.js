// Log lines taken apart, rewritten and tested with regular expressions.
(() => {
  let seed = 7;
  const random = (limit) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % limit;
  };
  const verbs = ["GET", "POST", "PUT", "DELETE"];
  const names = ["alpha", "béta", "gamma-ray", "delta_4", "epsilon"];
  const lines = [];
  for (let i = 0; i < 20_000; i += 1) {
    const name = names[random(names.length)];
    lines.push(
      `10.${random(256)}.${random(256)}.${random(256)} - ${name}@example${random(9)}.org [${1 + random(28)}/Feb/2026:${random(24)}:${random(60)}:${random(60)}] ` +
        `"${verbs[random(4)]} /api/v${random(3)}/${name}/${random(10_000)}?q=${"ab".repeat(random(6))}&page=${random(50)} HTTP/1.1" ${200 + random(305)} ${random(90_000)}`,
    );
  }
  const shape =
    /^(?<ip>\d{1,3}(?:\.\d{1,3}){3}) - (?<mail>[\p{L}\w.-]+@[a-z\d.]+) \[(?<when>[^\]]+)\] "(?<verb>[A-Z]+) (?<path>[^ ?"]+)(?:\?(?<query>[^ "]*))? HTTP\/[\d.]+" (?<status>\d{3}) (?<size>\d+)$/u;
  let checksum = 0;
  for (let round = 0; round < 13; round += 1) {
    for (const line of lines) {
      const { groups } = shape.exec(line);
      checksum = (checksum + Number(groups.status) + Number(groups.size)) % 1_000_003;
      if (/(?:ab){3,}/.test(groups.query ?? "")) checksum += 1;
      checksum += groups.path.split(/[/_-]+/).length;
    }
    const text = lines.slice(round * 1000, round * 1000 + 6000).join("\n");
    checksum += text.replace(/\b(\d{1,3})\.(\d{1,3})\b/g, (_, a, b) => `${b}.${a}`).length;
    checksum += [...text.matchAll(/page=(?<page>\d+)(?= HTTP)/g)].reduce((sum, match) => sum + Number(match.groups.page), 0);
    checksum += (text.match(/(?<!v\d\/)[a-z]+(?:-[a-z]+)+/gi) ?? []).length;
    checksum %= 1_000_003;
  }
  console.log(`regexp ${checksum}`);
})();
