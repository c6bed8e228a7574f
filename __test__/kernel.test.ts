/** `createKernel` and `createNodeRuntime`. */

import { allowAll, allowAllFs, createInMemoryFileSystem, createKernel, createNodeRuntime } from "secure-exec";
import type { Kernel, KernelNodeOptions, Permissions } from "secure-exec";
import { afterEach, describe, expect, test } from "vitest";

const live: Kernel[] = [];
afterEach(async () => {
  await Promise.all(live.splice(0).map((kernel) => kernel.dispose()));
});

async function make(node: KernelNodeOptions = { permissions: allowAll }, permissions: Permissions = allowAll): Promise<Kernel> {
  const kernel = createKernel({ filesystem: createInMemoryFileSystem(), permissions });
  live.push(kernel);
  await kernel.mount(createNodeRuntime(node));
  return kernel;
}

/** Runs a command to its end. */
async function run(kernel: Kernel, command: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = { stdout: "", stderr: "" };
  const process = kernel.spawn(command, args, {
    onStdout: (data) => (output.stdout += Buffer.from(data).toString()),
    onStderr: (data) => (output.stderr += Buffer.from(data).toString()),
  });
  return { code: await process.wait(), ...output };
}

describe("createKernel", () => {
  test("runs a file with functions of the host's", async () => {
    const bindings = { invokeTool: async (json: string) => `${json}!`, log: { emit: (line: string) => void lines.push(line) } };
    const lines: string[] = [];
    const kernel = await make({ permissions: allowAll, memoryLimit: 64, bindings });
    await kernel.writeFile("/entry.mjs", `
      await SecureExec.bindings.log.emit("told");
      console.log(await SecureExec.bindings.invokeTool("asked"), process.argv[2]);
      console.error("also");
      process.exitCode = 3;`);
    expect(await run(kernel, "node", ["/entry.mjs", "argument"])).toEqual({ code: 3, stdout: "asked! argument\n", stderr: "also\n" });
    expect(lines).toEqual(["told"]);
  });

  test("processes are fed, killed and listed", async () => {
    const kernel = await make();
    const output: string[] = [];
    const reader = kernel.spawn("node", ["-e", "process.stdin.on('data', (d) => console.log('got ' + d))"], {
      onStdout: (data) => output.push(Buffer.from(data).toString()),
    });
    reader.writeStdin("this");
    reader.closeStdin();
    const endless = kernel.spawn("node", ["-e", "setInterval(() => {}, 100)"]);
    expect(endless.exitCode).toBeNull();
    endless.kill(9);
    expect([await reader.wait(), await endless.wait(), endless.exitCode]).toEqual([0, 137, 137]);
    expect(output.join("")).toBe("got this\n");
    expect([...kernel.processes.values()].map(({ pid, status }) => [pid, status])).toEqual([[reader.pid, "exited"], [endless.pid, "exited"]]);
  });

  test("command lines", async () => {
    const kernel = await make();
    expect(await kernel.exec("echo one | tr a-z A-Z; echo two >&2; exit 4")).toEqual({ exitCode: 4, stdout: "ONE\n", stderr: "two\n" });
    expect((await kernel.exec("cat", { stdin: "typed" })).stdout).toBe("typed");
    expect((await kernel.exec("sleep 30", { timeout: 50 })).exitCode).toBe(124);
    expect((await run(kernel, "absent", [])).code).toBe(127);
    expect((await run(kernel, "node", ["/absent.mjs"])).stderr).toContain("Cannot find module");
  });

  test("files, and file systems that are mounted later", async () => {
    const kernel = await make();
    const other = createInMemoryFileSystem();
    await other.writeFile("/in.txt", "other");
    kernel.mountFs("/other", other);
    expect((await kernel.exec("cat /other/in.txt")).stdout).toBe("other");
    kernel.unmountFs("/other");
    await kernel.mkdir("/a/b");
    await kernel.writeFile("/a/b/c", "text");
    await kernel.rename("/a/b/c", "/a/b/d");
    expect([await kernel.readdir("/a/b"), (await kernel.stat("/a/b/d")).size, await kernel.exists("/a/b/c")]).toEqual([["d"], 4, false]);
  });

  test("both sides have to allow", async () => {
    const code = "try { require('fs').writeFileSync('/x', ''); console.log('ok') } catch (e) { console.log(e.code) }";
    const write = async (...args: Parameters<typeof make>): Promise<string> => (await run(await make(...args), "node", ["-e", code])).stdout;
    expect(await write()).toBe("ok\n");
    expect(await write({})).toBe("EACCES\n");
    expect(await write({ permissions: allowAllFs }, { fs: ({ op }) => ({ allow: op !== "write" }) })).toBe("EACCES\n");
  });

  test("there are no commands before a driver is mounted", async () => {
    const kernel = createKernel({ filesystem: createInMemoryFileSystem() });
    expect(() => kernel.spawn("node", [])).toThrow(/command not found/);
    await expect(kernel.mount({} as never)).rejects.toThrow(TypeError);
    await kernel.dispose();
  });
});
