// 20,000 writes of 1 KB to ten files.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
const data = Buffer.alloc(1024, "x");
for (let i = 0; i < 20_000; i += 1) fs.writeFileSync(`${dir}/${i % 10}`, data);
console.log(fs.readdirSync(dir).length);
fs.rmSync(dir, { recursive: true });
