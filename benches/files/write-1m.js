// 400 writes of 1 MB to four files.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
const data = Buffer.alloc(1 << 20, "x");
for (let i = 0; i < 400; i += 1) fs.writeFileSync(`${dir}/${i % 4}`, data);
console.log(fs.readdirSync(dir).length);
fs.rmSync(dir, { recursive: true });
