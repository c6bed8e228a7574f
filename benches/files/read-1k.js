// 20,000 reads of a file of 1 KB.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
const file = `${dir}/file`;
fs.writeFileSync(file, "x".repeat(1024));
let sum = 0;
for (let i = 0; i < 20_000; i += 1) sum += fs.readFileSync(file).length;
fs.rmSync(dir, { recursive: true });
console.log(sum);
