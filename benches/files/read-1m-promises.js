// 400 reads of a file of 1 MB, each awaited.
const fs = process.getBuiltinModule("fs");
async function main() {
  const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
  const file = `${dir}/file`;
  fs.writeFileSync(file, Buffer.alloc(1 << 20, "x"));
  let sum = 0;
  for (let i = 0; i < 400; i += 1) sum += (await fs.promises.readFile(file)).length;
  fs.rmSync(dir, { recursive: true });
  console.log(sum);
}
main();
