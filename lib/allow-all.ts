/** Permissions that grant everything, as the first generation has them: each part can be spread into an object. */

import { allow } from "./permissions.js";
import type { Permissions } from "./types.js";

export const allowAllFs: Pick<Permissions, "fs"> = Object.freeze({ fs: allow });
export const allowAllNetwork: Pick<Permissions, "network"> = Object.freeze({ network: allow });
export const allowAllChildProcess: Pick<Permissions, "childProcess"> = Object.freeze({ childProcess: allow });
export const allowAllEnv: Pick<Permissions, "env"> = Object.freeze({ env: allow });
export const allowAll: Permissions = Object.freeze({
  ...allowAllFs,
  ...allowAllNetwork,
  ...allowAllChildProcess,
  ...allowAllEnv,
});
