// The same with `node -e`.
const { spawn } = process.getBuiltinModule("child_process");
async function main() {
  const times = [];
  for (let i = 0; i < 20; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const start = performance.now();
    const code = await new Promise((resolve) => spawn(process.execPath, ["-e", "console.log(40 + 2)"], { stdio: "ignore" }).on("close", resolve));
    if (code !== 0) throw new Error(`code ${code}`);
    times.push(performance.now() - start);
  }
  console.log(JSON.stringify(times));
}
main();
