import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: {
      "secure-exec/code-mode": fileURLToPath(new URL("dist/code-mode.js", import.meta.url)),
      "secure-exec/typescript": fileURLToPath(new URL("dist/typescript.js", import.meta.url)),
      "secure-exec": fileURLToPath(new URL("dist/index.js", import.meta.url)),
    },
  },
  test: {
    include: ["__test__/**/*.test.ts"],
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Tests of limits measure time: one file at once.
    fileParallelism: false,
    server: { deps: { external: [/\/dist\//] } },
  },
});
