import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { root } from "./support.js";

interface List {
  unstable?: Record<string, string>;
  fail?: Record<string, string[]>;
  pass?: string[];
}
interface Outcome {
  result: "pass" | "fail" | "skip";
  why?: string;
}
interface Expectations {
  UNEXPLAINED: string;
  compare(list: List, results: Map<string, Outcome>, options?: { complete?: boolean }): string[];
  merge(list: List, results: Map<string, Outcome>): List;
}

const { UNEXPLAINED, compare, merge } = (await import(`${root}conformance/expectations.mjs`)) as Expectations;

const list: List = {
  unstable: { "parallel/test-race.js": "waits for a race" },
  fail: { "needs python": ["parallel/test-py.js", "parallel/test-snake.js"], "needs a compiler": ["parallel/test-cc.js"] },
  pass: ["parallel/test-a.js", "parallel/test-b.js"],
};

function outcomes(results: Record<string, Outcome["result"]>): Map<string, Outcome> {
  return new Map(Object.entries(results).map(([name, result]) => [`parallel/test-${name}.js`, { result }]));
}

describe("the ratchet of Node's own tests", () => {
  test("what is as listed is no problem, and skips need no place in the list", () => {
    const results = outcomes({ a: "pass", b: "pass", py: "fail", snake: "fail", cc: "fail", race: "fail", windows: "skip" });
    expect(compare(list, results, { complete: true })).toEqual([]);
  });

  test.each([
    ["REGRESSED", { a: "fail" }],
    ["REGRESSED", { a: "skip" }],
    ["NO LONGER FAILS", { py: "pass" }],
    ["NO LONGER FAILS", { py: "skip" }],
    ["NEW PASS", { c: "pass" }],
    ["NEW FAILURE", { c: "fail" }],
  ] as const)("%s: %o", (problem, results) => {
    const [name] = Object.keys(results);
    const problems = compare(list, outcomes(results));
    expect(problems).toHaveLength(1);
    expect(problems[0]?.startsWith(`${problem} parallel/test-${name}.js`)).toBe(true);
  });

  test("a listed test that is not in the suite is a problem of a complete run only", () => {
    const results = outcomes({ a: "pass", b: "pass", py: "fail", snake: "fail", cc: "fail" });
    expect(compare(list, results)).toEqual([]);
    expect(compare(list, results, { complete: true })).toEqual(["NOT IN THE SUITE parallel/test-race.js"]);
  });

  test("a failure has a reason, and a test one place", () => {
    for (const reason of ["", " ", UNEXPLAINED]) {
      expect(compare({ fail: { [reason]: ["parallel/test-x.js"] } }, new Map())).toEqual([
        expect.stringMatching(/^NO REASON parallel\/test-x\.js/),
      ]);
    }
    expect(compare({ ...list, pass: ["parallel/test-cc.js"] }, new Map())).toEqual(["LISTED TWICE parallel/test-cc.js"]);
  });

  test("an update keeps reasons and what did not run; a new failure still has to be explained", () => {
    const updated = merge(list, outcomes({ a: "fail", b: "skip", py: "pass", snake: "fail", c: "pass", race: "pass" }));
    expect(updated).toEqual({
      unstable: list.unstable,
      fail: {
        "needs python": ["parallel/test-snake.js"],
        "needs a compiler": ["parallel/test-cc.js"],
        [UNEXPLAINED]: ["parallel/test-a.js"],
      },
      pass: ["parallel/test-c.js", "parallel/test-py.js"],
    });
    expect(compare(updated, outcomes({ a: "fail" }))).toEqual([expect.stringMatching(/^NO REASON parallel\/test-a\.js/)]);
  });

  test("the committed list gives each failure a reason", () => {
    const committed = JSON.parse(readFileSync(`${root}conformance/expectations.json`, "utf8")) as List;
    expect(Object.keys(committed.fail ?? {})).not.toEqual([]);
    expect(compare(committed, new Map())).toEqual([]);
  });
});
