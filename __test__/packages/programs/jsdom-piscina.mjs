// Both need SharedArrayBuffer.
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JSDOM } from "jsdom";
import { Piscina } from "piscina";

const dom = new JSDOM("<p id=a>x</p><script>document.getElementById('a').textContent = 'run'</script>", { runScripts: "dangerously" });
const { document, Event, getComputedStyle } = dom.window;
document.querySelector("p").addEventListener("click", (event) => console.log(event.type, event.isTrusted));
document.querySelector("p").dispatchEvent(new Event("click"));
console.log(dom.serialize(), getComputedStyle(document.body).display);

const filename = join(tmpdir(), "secure-exec-piscina.mjs");
writeFileSync(filename, "export default ({ a, b }) => a + b;");
const pool = new Piscina({ filename, minThreads: 1, maxThreads: 2 });
console.log(await Promise.all([1, 2, 3, 4].map((a) => pool.run({ a, b: 10 }))));
await pool.destroy();
