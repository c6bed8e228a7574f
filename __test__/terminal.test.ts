import { describe, expect, test } from "vitest";
import type { GuestProcess } from "secure-exec";
import { make } from "./support.js";

/** What a terminal has shown so far, and a way to wait for something on it. */
class Screen {
  text = "";
  #wake: (() => void) | undefined;
  readonly done: Promise<void>;

  constructor(process: GuestProcess) {
    this.done = (async () => {
      const decoder = new TextDecoder();
      for await (const bytes of process.stdout) {
        this.text += decoder.decode(bytes, { stream: true });
        this.#wake?.();
      }
    })();
  }

  async shows(text: string): Promise<void> {
    while (!this.text.includes(text)) await new Promise<void>((wake) => (this.#wake = wake));
  }
}

describe("a terminal", () => {
  test("is given back as it was by a process that made it raw, and stty tells", async () => {
    const runtime = await make();
    const process = await runtime.spawn(
      `const { spawnSync } = require('node:child_process');
      const stty = (...words) => spawnSync('stty', words, { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'utf8' }).stdout;
      process.stdin.setRawMode(true);
      const raw = stty();
      process.stdin.setRawMode(false);
      spawnSync('node', ['-e', 'process.stdin.setRawMode(true); process.exit(0)'], { stdio: 'inherit' });
      const after = stty();
      spawnSync('stty', ['raw'], { stdio: 'inherit' });
      console.log(JSON.stringify([/ -echo/.test(raw), / -echo/.test(after), / -echo/.test(stty()), stty('size')]));
      stty('sane');
      const none = spawnSync('stty', { encoding: 'utf8' });
      console.log(none.status, none.stderr);`,
      { tty: { columns: 100, rows: 30 } },
    );
    const screen = new Screen(process);
    expect(await process.wait()).toMatchObject({ code: 0 });
    await screen.done;
    expect(screen.text).toContain('[true,false,true,"30 100\\n"]');
    expect(screen.text).toContain("1 stty: 'standard input': Inappropriate ioctl for device");
  });

  test("is one for the guest, with lines, echo, raw keys and a size", async () => {
    const runtime = await make();
    const process = await runtime.spawn(
      `const { stdin, stdout, stderr } = process;
      console.log(stdin.isTTY, stdout.isTTY, stderr.isTTY, stdout.columns, stdout.rows, require('tty').isatty(0));
      stdout.on('resize', () => console.log('size', stdout.columns, stdout.rows));
      stdin.once('data', (line) => {
        console.log('line', JSON.stringify(String(line)));
        stdin.setRawMode(true);
        console.log('raw', stdin.isRaw);
        stdin.on('data', (key) => {
          console.log('key', JSON.stringify(String(key)));
          if (String(key) === 'q') process.exit(0);
        });
      });
      console.log('ready');`,
      { tty: { columns: 100, rows: 30 } },
    );
    const screen = new Screen(process);
    await screen.shows("ready\r\n");
    expect(screen.text).toContain("true true true 100 30 true\r\n");
    process.resize({ columns: 90, rows: 20 });
    await screen.shows("size 90 20\r\n");
    process.stdin.write("helo\x7flo\r");
    await screen.shows("raw true");
    expect(screen.text).toContain("helo\b \blo\r\n");
    expect(screen.text).toContain('line "hello\\n"');
    process.stdin.write("\x03");
    await screen.shows('key "\\u0003"');
    process.stdin.write("q");
    expect(await process.wait()).toMatchObject({ code: 0, reason: "exit" });
    await screen.done;
  });

  test("its keys make signals, for children too, and hanging up ends its program", async () => {
    const runtime = await make();
    const process = await runtime.spawn(
      `const child = require('child_process').spawn('node', ['-e',
        "process.on('SIGINT', () => { console.log('child'); process.exit(0); }); setInterval(() => {}, 1000); console.log('ready')",
      ], { stdio: 'inherit' });
      process.on('SIGINT', () => console.log('parent'));
      child.on('exit', () => { console.log('gone'); setInterval(() => {}, 1000); });`,
      { tty: true },
    );
    const screen = new Screen(process);
    await screen.shows("ready");
    process.stdin.write("\x03");
    await screen.shows("gone");
    expect(screen.text).toContain("^C");
    expect(screen.text).toContain("parent");
    expect(screen.text).toContain("child");
    process.stdin.end();
    expect(await process.wait()).toMatchObject({ signal: "SIGHUP" });
  });

  test("options that cannot be meant are refused", async () => {
    const runtime = await make();
    await expect(runtime.spawn("", { tty: { columns: 0 } })).rejects.toThrow(RangeError);
    await expect(runtime.spawn("", { tty: true, stdin: "x" })).rejects.toThrow(TypeError);
  });
});
