/**
 * `secure-exec/typescript`: the functions of the third generation for TypeScript. Types are stripped, not checked; the
 * functions without this path take TypeScript too.
 */

export { evaluate, execute, executeFile } from "./third-generation/vm.js";
export type { EvaluateOptions, ExecuteFileOptions, ExecuteOptions } from "./third-generation/types.js";
