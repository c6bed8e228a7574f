// 20 listings of a directory of 10,000 files, with and without types.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
for (let i = 0; i < 10_000; i += 1) fs.closeSync(fs.openSync(`${dir}/file-${i}`, "w"));
let sum = 0;
for (let i = 0; i < 10; i += 1) {
  sum += fs.readdirSync(dir).length;
  sum += fs.readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isFile()).length;
}
fs.rmSync(dir, { recursive: true });
console.log(sum);
