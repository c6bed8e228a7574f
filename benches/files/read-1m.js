// 400 reads of a file of 1 MB.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
const file = `${dir}/file`;
fs.writeFileSync(file, Buffer.alloc(1 << 20, "x"));
let sum = 0;
for (let i = 0; i < 400; i += 1) sum += fs.readFileSync(file).length;
fs.rmSync(dir, { recursive: true });
console.log(sum);
