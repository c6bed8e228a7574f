// Starts `node` with a file again and again and waits for each to exit; prints how long each took, in milliseconds.
const { spawn } = process.getBuiltinModule("child_process");
const fs = process.getBuiltinModule("fs");
async function main() {
  const file = `${process.getBuiltinModule("os").tmpdir()}/bench-${process.pid}.js`;
  fs.writeFileSync(file, "console.log(40 + 2)");
  const times = [];
  for (let i = 0; i < 20; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const start = performance.now();
    const code = await new Promise((resolve) => spawn(process.execPath, [file], { stdio: "ignore" }).on("close", resolve));
    if (code !== 0) throw new Error(`code ${code}`);
    times.push(performance.now() - start);
  }
  fs.rmSync(file);
  console.log(JSON.stringify(times));
}
main();
