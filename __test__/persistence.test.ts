/** What outlives a runtime: checkpoints, increments, streams, and the adapter that loads and saves. */

import { describe, expect, test } from "vitest";
import { NodeRuntime, SecureExecError } from "secure-exec";
import type { NodeRuntimeCreateOptions, PersistenceAdapter } from "secure-exec";
import { inChild, lastLine, make } from "./support.js";

const CHANGE = `const fs = require("fs");
  fs.writeFileSync("/workspace/a", "2"); fs.unlinkSync("/workspace/gone"); fs.rmSync("/workspace/dir", { recursive: true });
  fs.writeFileSync("/workspace/dir", "a file now"); fs.mkdirSync("/workspace/deep/er", { recursive: true });
  fs.symlinkSync("../a", "/workspace/deep/link"); fs.renameSync("/workspace/moves", "/workspace/deep/moved");`;
const FILES = { "/workspace/a": "1", "/workspace/gone": "", "/workspace/dir/x": "x", "/workspace/moves/in": "in", "/same": "same" };

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Keeps one archive. */
class Keeper implements PersistenceAdapter {
  kept: Uint8Array | null = null;
  saves = 0;
  readonly maxBytes: number;
  constructor(maxBytes = 1 << 30) {
    this.maxBytes = maxBytes;
  }
  load(): Uint8Array | null {
    return this.kept;
  }
  async save(archive: ReadableStream<Uint8Array>): Promise<void> {
    const saved = await collect(archive as unknown as AsyncIterable<Uint8Array>);
    this.saves += 1;
    this.kept = saved;
  }
}

describe("increments", () => {
  test("a base and what changed since make the files of now", async () => {
    const runtime = await make({ files: FILES });
    const start = await runtime.checkpoint();
    const base = await runtime.snapshot();
    expect(await runtime.snapshot({ since: start })).toEqual(new Uint8Array(1024));
    expect((await runtime.exec(CHANGE)).code).toBe(0);
    const middle = await runtime.checkpoint();
    const first = await runtime.snapshot({ since: start });
    await runtime.fs.writeFile("/workspace/deep/moved/in", "changed");
    await runtime.fs.rm("/same");
    const second = await runtime.snapshot({ since: middle });
    const both = await runtime.snapshot({ since: start });
    const now = await runtime.snapshot();
    expect(first.length).toBeLessThan(base.length);
    for (const snapshot of [[base, first, second], [base, both], [now], now]) {
      const again = await make({ snapshot });
      expect(Buffer.from(await again.snapshot()).equals(now)).toBe(true);
      expect(await again.fs.readFile("/workspace/dir", "utf8")).toBe("a file now");
      expect(await again.fs.readlink("/workspace/deep/link")).toBe("../a");
      expect(await again.fs.exists("/workspace/gone")).toBe(false);
      expect(await again.fs.exists("/same")).toBe(false);
    }
  });

  test("checkpoints are a runtime's own", async () => {
    const [one, other] = [await make(), await make()];
    const checkpoint = await one.checkpoint();
    await expect(other.snapshot({ since: checkpoint })).rejects.toThrow(/since must be a checkpoint of this runtime/);
    await expect(one.snapshot({ since: {} as never })).rejects.toThrow(/since must be a checkpoint/);
    await expect(one.snapshot({ since: checkpoint, path: "/" })).rejects.toThrow(/path cannot be given with since/);
  });

  test("streams are the same bytes, can be left, and tell errors", async () => {
    const runtime = await make({ files: { "/workspace/big": new Uint8Array(3 << 20).fill(7) } });
    const whole = await runtime.snapshot();
    expect((await collect(runtime.snapshotStream() as never)).equals(whole)).toBe(true);
    for (let i = 0; i < 100; i++) {
      const reader = runtime.snapshotStream().getReader();
      await reader.read();
      await reader.cancel();
    }
    const tooSmall = runtime.snapshotStream({ maxBytes: 1000 });
    await expect(collect(tooSmall as never)).rejects.toThrow(/more than 1000 bytes/);
    await runtime.dispose();
    expect(() => runtime.snapshotStream()).toThrow(SecureExecError);
  });
});

describe("persistence", () => {
  test("files come back, in as many lives as there are", async () => {
    const persistence = new Keeper();
    for (let life = 0; life < 3; life++) {
      const runtime = await NodeRuntime.create({ persistence });
      const { stdout } = await runtime.exec(`const fs = require("fs");
        const n = fs.existsSync("/workspace/n") ? Number(fs.readFileSync("/workspace/n")) : 0; console.log(n);
        fs.writeFileSync("/workspace/n", String(n + 1));`);
      expect(stdout).toBe(`${life}\n`);
      await runtime.dispose();
    }
    expect(persistence.saves).toBe(3);
  });

  test("nothing is saved where nothing changed, and the same files make the same bytes", async () => {
    const persistence = new Keeper();
    const runtime = await NodeRuntime.create({ persistence, files: FILES });
    await runtime.persist();
    const kept = persistence.kept;
    await runtime.persist();
    await runtime.dispose();
    await runtime.dispose();
    expect(persistence.saves).toBe(1);
    const again = await NodeRuntime.create({ persistence });
    await again.fs.writeFile("/workspace/a", "9");
    await again.fs.writeFile("/workspace/a", "1");
    await again.dispose();
    expect(persistence.saves).toBe(2);
    expect(Buffer.from(kept ?? []).equals(persistence.kept ?? Buffer.of(1))).toBe(true);
  });

  test("loads streams; snapshot is where the first life starts; files are written over", async () => {
    const base = await (await make({ files: { "/base": "b", "/both": "b" } })).snapshot();
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < base.length; at += 1000) yield base.subarray(at, at + 1000);
    }
    const streamed = await make({ persistence: { load: () => pieces(), save: collectAll }, files: { "/both": "f" } });
    expect(await streamed.fs.readFile("/base", "utf8")).toBe("b");
    expect(await streamed.fs.readFile("/both", "utf8")).toBe("f");
    const first = await make({ persistence: { load: async () => null, save: collectAll }, snapshot: base });
    expect(await first.fs.readFile("/base", "utf8")).toBe("b");
    async function collectAll(archive: ReadableStream<Uint8Array>): Promise<void> {
      await collect(archive as never);
    }
  });

  test("an error of save is told by persist and by dispose, every time", async () => {
    const persistence: PersistenceAdapter = {
      load: () => null,
      save: async (archive) => {
        await archive.cancel();
        throw new Error("the disk is full");
      },
    };
    const runtime = await NodeRuntime.create({ persistence });
    const told = { code: "ERR_PERSISTENCE_FAILED", message: /the disk is full/, cause: { message: "the disk is full" } };
    const failed = expect.objectContaining({ ...told, message: expect.stringMatching(told.message), cause: expect.any(Error) });
    await expect(runtime.persist()).rejects.toEqual(failed);
    await expect(runtime.dispose()).rejects.toEqual(failed);
    await expect(runtime.dispose()).rejects.toEqual(failed);
    const unread = await NodeRuntime.create({ persistence: { load: () => null, save: () => {} } });
    await expect(unread.dispose()).rejects.toThrow(/before it had read the archive to its end/);
    const small = await NodeRuntime.create({
      persistence: new Keeper(1000),
      files: { "/x": "x".repeat(2000) },
    });
    await expect(small.dispose()).rejects.toThrow(/more than 1000 bytes/);
  });

  test("an error of load makes no runtime, and saves nothing", async () => {
    let saves = 0;
    const save = async (): Promise<void> => void (saves += 1);
    const from = (load: unknown, more: object = {}): Promise<NodeRuntime> =>
      NodeRuntime.create({ persistence: { load, save, ...more } } as NodeRuntimeCreateOptions);
    await expect(from(() => Promise.reject(new Error("no"))).then(() => "made")).rejects.toMatchObject({ code: "ERR_PERSISTENCE_FAILED" });
    await expect(from(() => "text")).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(from(() => Buffer.from("no archive".repeat(100)))).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
    await expect(from(() => new Uint8Array(5000), { maxBytes: 1024 })).rejects.toMatchObject({
      code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE",
      option: "persistence.maxBytes",
    });
    await expect(from(() => null, { times: 1 })).rejects.toThrow(/persistence\.times must be a boolean/);
    await expect(NodeRuntime.create({ persistence: { save } as never })).rejects.toThrow(/persistence\.load must be a function/);
    expect(saves).toBe(0);
  });

  test("an aborted runtime saves too, and leaves no unhandled rejection", async () => {
    const child = await inChild(`
      const controller = new AbortController();
      let saves = 0;
      const persistence = { load: () => null, async save(archive) { saves += 1; for await (const _ of archive); throw new Error("no"); } };
      const runtime = await NodeRuntime.create({ persistence, signal: controller.signal });
      controller.abort();
      const code = await runtime.dispose().catch((error) => error.code);
      await sleep(20);
      console.log(JSON.stringify([saves, code]));`);
    expect(lastLine(child)).toEqual([1, "ERR_PERSISTENCE_FAILED"]);
  });
});
