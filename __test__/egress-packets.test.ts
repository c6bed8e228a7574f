/** With egress denied no packet leaves, by any API: counted in a network namespace of its own. */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

interface Measured {
  tried: number;
  code: number;
  stderr: string;
  sent: Record<string, number>;
}

const script = fileURLToPath(new URL("namespace/count-packets.mjs", import.meta.url));
const probe = spawnSync("unshare", ["-rn", "sh", "-c", "ip link add a0 type veth peer name a1"], { encoding: "utf8" });
const isPossible = probe.status === 0;
if (!isPossible) console.warn("egress-packets: skipped, this machine has no network namespaces with interfaces for us");

test.skipIf(!isPossible)("no packet leaves without a grant", { timeout: 300_000 }, () => {
  const child = spawnSync("unshare", ["-rn", process.execPath, script], { encoding: "utf8", timeout: 290_000 });
  expect(child.status, child.stderr).toBe(0);
  const { denied, allowed } = JSON.parse(child.stdout.trimEnd().split("\n").at(-1) ?? "") as { denied: Measured[]; allowed: Measured };
  for (const { tried, code, stderr, sent } of denied) {
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(tried).toBeGreaterThan(150);
    expect(sent).toEqual(Object.fromEntries(Object.keys(sent).map((name) => [name, 0])));
  }
  // The same program with a grant is seen.
  expect(allowed.tried).toBe(denied[0]?.tried);
  expect(allowed.sent["out0"]).toBeGreaterThan(0);
  expect(allowed.sent["TcpActiveOpens"]).toBeGreaterThan(0);
  expect(allowed.sent["UdpOutDatagrams"]).toBeGreaterThan(0);
});
