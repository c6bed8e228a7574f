// 100,000 looks at a file, half of them at one that is not there.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
fs.writeFileSync(`${dir}/file`, "x");
let sum = 0;
for (let i = 0; i < 50_000; i += 1) {
  sum += fs.statSync(`${dir}/file`).size;
  if (fs.statSync(`${dir}/none`, { throwIfNoEntry: false }) === undefined) sum += 1;
}
fs.rmSync(dir, { recursive: true });
console.log(sum);
