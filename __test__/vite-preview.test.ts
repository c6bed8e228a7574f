/** Vite in a guest: it builds, its preview server serves, its dev server sees what changes and tells it. */

import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { GuestProcess, NodeRuntime, SpawnOptions } from "secure-exec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "./support.js";

const example = join(root, "examples", "vite-preview");
const modules = join(example, "node_modules");
const app = "/workspace/src/App.tsx";
/** A browser and a bundler share a machine with whatever else it does. */
const PATIENCE_MS = 300_000;

interface Page {
  click(selector: string): Promise<void>;
  innerText(selector: string): Promise<string>;
  getByText(text: string): { waitFor(): Promise<void> };
  screenshot(options: { path: string }): Promise<Buffer>;
  evaluate<T>(code: string): Promise<T>;
}
interface Vm {
  createVm(): Promise<NodeRuntime>;
  vite(runtime: NodeRuntime, args: string[], hooks: Pick<SpawnOptions, "onStdout" | "onStderr">): Promise<GuestProcess>;
}
interface Browser {
  findChromium(): string | undefined;
  withPage(url: string, use: (page: Page) => Promise<void>): Promise<void>;
}
const { createVm, vite } = (await import(join(example, "vm.mjs"))) as Vm;
const { findChromium, withPage } = (await import(join(example, "browser.mjs"))) as Browser;

const hasChromium = findChromium() !== undefined;
if (!hasChromium) console.log("vite-preview: chromium is not installed, tests in a browser are skipped");

/** The app as it is in a new VM, with what `vite` printed. */
async function start(runtime: NodeRuntime, ...args: string[]): Promise<{ process: GuestProcess; text: () => string }> {
  let output = "";
  const hear = (bytes: Uint8Array): void => void (output += Buffer.from(bytes).toString());
  const process = await vite(runtime, args, { onStdout: hear, onStderr: hear });
  return { process, text: () => output };
}

describe("vite", { timeout: PATIENCE_MS }, () => {
  let runtime: NodeRuntime;

  beforeAll(async () => {
    runtime = await createVm();
  });

  afterAll(() => runtime.dispose());

  test("build: the bundle is in the VM, nothing of it on the host", async () => {
    const before = readdirSync(modules);
    const { process, text } = await start(runtime, "build");
    const { code } = await process.wait();
    expect(code, text()).toBe(0);
    expect(text()).toContain("modules transformed");
    const page = await runtime.fs.readTextFile("/workspace/dist/index.html");
    const script = /src="(\/assets\/index-[\w-]+\.js)"/.exec(page)?.[1];
    expect(script).toBeDefined();
    expect((await runtime.fs.stat(`/workspace/dist${script}`)).size).toBeGreaterThan(100_000);
    expect(readdirSync(modules)).toEqual(before);
    expect(existsSync(join(example, "app", "dist"))).toBe(false);
  });

  test("build: an error of the app is told and ends it", async () => {
    const broken = await createVm();
    try {
      await broken.fs.writeFile(app, "export function App() { return <main>; }\n");
      const { process, text } = await start(broken, "build");
      const { code } = await process.wait();
      expect(code).toBe(1);
      expect(text()).toContain("src/App.tsx");
    } finally {
      await broken.dispose();
    }
  });

  test.skipIf(!hasChromium)("preview: the bundle runs in a browser", async () => {
    const { process } = await start(runtime, "preview", "--port", "4173", "--strictPort");
    await runtime.waitForListener({ port: 4173 }, { timeoutMs: PATIENCE_MS });
    const exposed = await runtime.expose(4173);
    const picture = join(example, "out", "preview.png");
    mkdirSync(join(example, "out"), { recursive: true });
    await withPage(exposed.url, async (page: Page) => {
      expect(await page.innerText("h1")).toBe("Hello from a sandbox");
      expect(await page.innerText("button")).toBe("clicked 0 times");
      await page.click("button");
      await page.click("button");
      await page.getByText("clicked 2 times").waitFor();
      expect(await page.evaluate("document.querySelector('img').naturalWidth")).toBeGreaterThan(0);
      await page.screenshot({ path: picture });
    });
    expect(statSync(picture).size).toBeGreaterThan(1_000);
    console.log(`vite-preview: screenshot in ${picture}`);
    await exposed.close();
    process.kill();
    await process.wait();
  });

  describe("the dev server", () => {
    let dev: Awaited<ReturnType<typeof start>>;

    beforeAll(async () => {
      dev = await start(runtime, "--port", "5173", "--strictPort");
      await runtime.waitForListener({ port: 5173 }, { timeoutMs: PATIENCE_MS });
    }, PATIENCE_MS);

    afterAll(async () => {
      dev.process.kill();
      await dev.process.wait();
    });

    test("tells of a change by HMR, through connect", async () => {
      const entry = await runtime.fetch(5173, { path: "/src/main.tsx", timeoutMs: PATIENCE_MS });
      expect(entry.status).toBe(200);
      // Vite watches what has been asked for.
      const component = await runtime.fetch(5173, { path: "/src/App.tsx", timeoutMs: PATIENCE_MS });
      expect(component.text()).toContain("jsxDEV");
      const messages = await hotUpdates(runtime, 5173);
      await messages.next("connected");
      const source = await runtime.fs.readTextFile(app);
      // Vite begins to watch some time after it has answered: a change before that is not seen.
      let edits = 0;
      const editing = setInterval(() => void runtime.fs.writeFile(app, `${source}\n// changed ${(edits += 1)}`), 250);
      const update = await messages.next("update");
      clearInterval(editing);
      expect(update).toMatchObject({ updates: [{ type: "js-update", path: "/src/App.tsx" }] });
      messages.close();
      await runtime.fs.writeFile(app, source);
    });

    test.skipIf(!hasChromium)("an edit changes the page in a browser, whose state stays", async () => {
      const exposed = await runtime.expose(5173);
      await withPage(exposed.url, async (page: Page) => {
        await page.getByText("clicked 0 times").waitFor();
        await page.click("button");
        await page.getByText("clicked 1 times").waitFor();
        const source = await runtime.fs.readTextFile(app);
        await runtime.fs.writeFile(app, source.replace("Hello from a sandbox", "Edited while it runs"));
        await page.getByText("Edited while it runs").waitFor();
        expect(await page.innerText("button")).toBe("clicked 1 times");
      });
      await exposed.close();
    });
  });
});

interface HotUpdates {
  /** The next message of this type. */
  next(type: string): Promise<{ type: string }>;
  close(): void;
}

/** Vite's messages over a WebSocket on `runtime.connect`: a handshake and text frames, as RFC 6455 has them. */
async function hotUpdates(runtime: NodeRuntime, port: number): Promise<HotUpdates> {
  const socket = await runtime.connect(port);
  const handshake = request({
    path: "/",
    headers: {
      host: `localhost:${port}`,
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": Buffer.alloc(16, 7).toString("base64"),
      "sec-websocket-protocol": "vite-hmr",
    },
    createConnection: () => socket,
  });
  handshake.end();
  const [response, upgraded, head] = (await once(handshake, "upgrade")) as [IncomingMessage, Duplex, Buffer];
  expect(response.statusCode).toBe(101);
  let rest = head;
  const take = async (length: number): Promise<Buffer> => {
    while (rest.length < length) {
      if (upgraded.readableEnded) throw new Error("the dev server closed the connection");
      const chunk = upgraded.read() as Buffer | null;
      if (chunk === null) await Promise.race([once(upgraded, "readable"), once(upgraded, "end")]);
      else rest = Buffer.concat([rest, chunk]);
    }
    const bytes = rest.subarray(0, length);
    rest = rest.subarray(length);
    return bytes;
  };
  const next = async (type: string): Promise<{ type: string }> => {
    for (;;) {
      const [first = 0, second = 0] = await take(2);
      const length = second === 126 ? (await take(2)).readUInt16BE() : second;
      const payload = (await take(length)).toString();
      const isText = (first & 0x0f) === 1;
      const message = isText ? (JSON.parse(payload) as { type: string }) : undefined;
      if (message?.type === type) return message;
    }
  };
  return { next, close: () => upgraded.destroy() };
}
