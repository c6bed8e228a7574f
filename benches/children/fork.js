// Forks a program that answers one message and leaves; until it has exited.
const { fork } = process.getBuiltinModule("child_process");
const fs = process.getBuiltinModule("fs");
async function main() {
  const file = `${process.getBuiltinModule("os").tmpdir()}/bench-${process.pid}.js`;
  fs.writeFileSync(file, "process.once('message', (text) => process.send(text + '!', () => process.disconnect()))");
  const times = [];
  for (let i = 0; i < 20; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const start = performance.now();
    const child = fork(file, [], { stdio: ["ignore", "ignore", "ignore", "ipc"], execArgv: [] });
    const answer = new Promise((resolve) => child.once("message", resolve));
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.send("hello");
    if ((await answer) !== "hello!" || (await closed) !== 0) throw new Error("no answer");
    times.push(performance.now() - start);
  }
  fs.rmSync(file);
  console.log(JSON.stringify(times));
}
main();
