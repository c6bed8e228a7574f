import { NodeRuntime } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

const create = (options: unknown): Promise<NodeRuntime> => NodeRuntime.create(options as object);

describe("options of create", () => {
  test.each([
    [{ memoryLimit: Number.NaN }, RangeError, /memoryLimit .*16 to 4096.* got NaN/],
    [{ memoryLimit: 15 }, RangeError, /memoryLimit .* got 15/],
    [{ memoryLimit: 4097 }, RangeError, /memoryLimit .* got 4097/],
    [{ memoryLimit: "128" }, TypeError, /memoryLimit .* got "128"/],
    [{ cpuTimeLimitMs: 0 }, RangeError, /cpuTimeLimitMs .* got 0/],
    [{ cpuTimeLimitMs: -1 }, RangeError, /cpuTimeLimitMs .* got -1/],
    [{ cpuTimeLimitMs: Infinity }, RangeError, /cpuTimeLimitMs .* got Infinity/],
    [{ wallTimeLimitMs: null }, TypeError, /wallTimeLimitMs .* got null/],
    [{ payloadLimits: { jsonPayloadBytes: 1023 } }, RangeError, /payloadLimits\.jsonPayloadBytes .*1024 to 67108864.* got 1023/],
    [{ payloadLimits: { base64TransferBytes: 2 ** 26 + 1 } }, RangeError, /payloadLimits\.base64TransferBytes/],
    [{ payloadLimits: { bytes: 1 } }, TypeError, /payloadLimits\.bytes is not an option/],
    [{ resourceBudgets: { maxTimers: 0 } }, RangeError, /resourceBudgets\.maxTimers .* got 0/],
    [{ resourceBudgets: { maxTimers: 1.5 } }, RangeError, /resourceBudgets\.maxTimers .* got 1.5/],
    [{ resourceBudgets: { maxCats: 1 } }, TypeError, /resourceBudgets\.maxCats is not an option/],
    [{ timingMitigation: "on" }, TypeError, /timingMitigation .* got "on"/],
    [{ capture: true }, TypeError, /capture .* got true/],
    [{ capture: { maxBytes: -5 } }, RangeError, /capture\.maxBytes .* got -5/],
    [{ env: { A: 1 } }, TypeError, /env\.A must be a string, got 1/],
    [{ env: { "A=B": "1" } }, TypeError, /env name/],
    [{ cwd: "relative" }, TypeError, /cwd must be an absolute path/],
    [{ files: { "x.txt": "" } }, TypeError, /files path must be an absolute path/],
    [{ files: { "/x.txt": 1 } }, TypeError, /files\["\/x\.txt"\] .* got 1/],
    [{ argv: "x" }, TypeError, /argv .* got "x"/],
    [{ onStdio: {} }, TypeError, /onStdio must be a function/],
    [{ dns: { servers: ["one.one"] } }, TypeError, /dns\.servers\[0\] must be an address.* got "one.one"/],
    [{ dns: { servers: ["1.1.1.1:99999"] } }, TypeError, /dns\.servers\[0\]/],
    [{ dns: { overrides: { "a.test": ["b.test"] } } }, TypeError, /dns\.overrides\["a\.test"\]\[0\] must be an IP address/],
    [{ dns: { hosts: {} } }, TypeError, /dns\.hosts is not an option/],
    [{ signal: {} }, TypeError, /signal must be an AbortSignal/],
    [{ memorylimit: 64 }, TypeError, /options\.memorylimit is not an option; known are memoryLimit/],
    [[], TypeError, /options must be an object, got an array/],
    [null, TypeError, /options must be an object, got null/],
  ])("%j", async (options, type, message) => {
    const error = await create(options).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect((error as { code?: string }).code).toMatch(/^ERR_(OUT_OF_RANGE|INVALID_ARG_(TYPE|VALUE))$/);
  });

  test("what this version does not have is said so", async () => {
    for (const options of [{ isolation: "process" }]) {
      await expect(create(options)).rejects.toMatchObject({ name: "SecureExecError", code: "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM" });
    }
  });

  test("absent and undefined are the same", async () => {
    const runtime = await make({ memoryLimit: undefined, cwd: undefined } as unknown as object);
    expect(await runtime.exec("")).toMatchObject({ code: 0 });
  });

  test("options are copied", async () => {
    const env = { A: "before" };
    const data = new Uint8Array([97]);
    const runtime = await make({ env, files: { "/f": data } });
    env.A = "after";
    data[0] = 98;
    const result = await runtime.exec("console.log(process.env.A, require('fs').readFileSync('/f', 'utf8'))");
    expect(result.stdout).toBe("before a\n");
  });

  test("an option is read once", async () => {
    let reads = 0;
    const options = Object.defineProperty({}, "cwd", { enumerable: true, get: () => (reads++ === 0 ? "/ok" : "bad") });
    await make(options);
    expect(reads).toBe(1);
  });
});

test("texts of options reach guests as they are, halves of surrogate pairs as U+FFFD", async () => {
  const given = { LONE: "a\ud83db", PAIR: "\ud83d\ude00", TEXT: "\\ud83d \\\\ud83d \\", QUOTE: '"\n' };
  const runtime = await make({ env: given });
  const { exports } = await runtime.run("module.exports = { ...process.env }");
  expect(exports).toMatchObject({ ...given, LONE: "a\ufffdb" });
});

describe("options of exec and run", () => {
  test.each([undefined, null, 1, {}, Buffer.from("1"), Symbol("x")])("code %s", async (code) => {
    const runtime = await make();
    await expect(runtime.exec(code as string)).rejects.toMatchObject({ name: "TypeError", code: "ERR_INVALID_ARG_TYPE" });
    await expect(runtime.run(code as string)).rejects.toThrow(/code must be a string/);
  });

  test.each([
    [{ cpuTimeLimitMs: Number.NaN }, RangeError],
    [{ wallTimeLimitMs: -1 }, RangeError],
    [{ stdin: 5 }, TypeError],
    [{ filePath: "" }, TypeError],
    [{ filePath: "a\0b" }, TypeError],
    [{ cwd: "x" }, TypeError],
    [{ argv: [1] }, TypeError],
    [{ unknown: 1 }, TypeError],
    [{ nodeOptions: [] }, TypeError],
    [{ context: 1 }, TypeError],
  ])("%j", async (options, type) => {
    const runtime = await make();
    await expect(runtime.exec("", options as object)).rejects.toBeInstanceOf(type);
  });
});
