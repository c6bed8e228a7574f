// A graph of 1,000 CommonJS modules: made, and loaded once.
const fs = process.getBuiltinModule("fs");
const dir = fs.mkdtempSync(`${process.getBuiltinModule("os").tmpdir()}/bench-`);
for (let i = 0; i < 1000; i += 1) {
  const next = [2 * i + 1, 2 * i + 2].filter((n) => n < 1000);
  const text = `${next.map((n) => `const m${n} = require("./m${n}.js");`).join("\n")}
exports.count = function count() { return 1${next.map((n) => ` + m${n}.count()`).join("")}; };
// ${"x".repeat(400)}\n`;
  fs.writeFileSync(`${dir}/m${i}.js`, text);
}
const { count } = process.getBuiltinModule("module").createRequire(`${dir}/`)("./m0.js");
fs.rmSync(dir, { recursive: true });
console.log(count());
