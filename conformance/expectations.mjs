// The list of what each of Node's tests does here: `pass`; `unstable`, which is never compared; `fail`, grouped by the
// reason. The list only moves on: a pass that fails is an error, and so is a listed failure that passes.

/** The reason that `merge` gives a new failure, and `compare` refuses: whoever adds it to the list says why. */
export const UNEXPLAINED = 'TODO: say why';

/** The list as maps by test. */
function byTest({ pass = [], unstable = {}, fail = {} }) {
  const reasons = Object.entries(fail).flatMap(([reason, tests]) => tests.map((test) => [test, reason]));
  return { passes: new Set(pass), unstable: new Map(Object.entries(unstable)), reasons: new Map(reasons) };
}

/** What is wrong with the list by itself: tests that are in it twice, failures without a reason. */
function mistakes({ pass = [], unstable = {}, fail = {} }) {
  const problems = [];
  const seen = new Set();
  for (const test of [...pass, ...Object.keys(unstable), ...Object.values(fail).flat()]) {
    if (seen.has(test)) problems.push(`LISTED TWICE ${test}`);
    seen.add(test);
  }
  for (const [reason, tests] of Object.entries(fail)) {
    if (reason.trim() !== '' && reason !== UNEXPLAINED) continue;
    problems.push(...tests.map((test) => `NO REASON ${test}: say in expectations.json why it fails`));
  }
  return problems;
}

/**
 * What differs between the list and results by test, each `{ result: 'pass' | 'fail' | 'skip', why }`, one line each.
 * `complete` says that the results are those of all tests: then every listed test must be among them.
 */
export function compare(list, results, { complete = false } = {}) {
  const { passes, unstable, reasons } = byTest(list);
  const problems = mistakes(list);
  for (const [test, { result, why }] of results) {
    if (unstable.has(test)) continue;
    if (passes.has(test)) {
      if (result !== 'pass') problems.push(`REGRESSED ${test}: ${why ?? result}`);
    } else if (reasons.has(test)) {
      if (result !== 'fail') problems.push(`NO LONGER FAILS ${test} (${result}): take it from the failures with --update`);
    } else if (result === 'pass') {
      problems.push(`NEW PASS ${test}: add it with --update`);
    } else if (result === 'fail') {
      problems.push(`NEW FAILURE ${test}: mend it, or list it with a reason: ${why ?? result}`);
    }
  }
  if (complete) {
    const gone = [...passes, ...unstable.keys(), ...reasons.keys()].filter((test) => !results.has(test));
    problems.push(...gone.map((test) => `NOT IN THE SUITE ${test}`));
  }
  return problems;
}

/** The list after a run. Reasons stay, tests that did not run stay as they were, new failures are `UNEXPLAINED`. */
export function merge(list, results) {
  const { passes, unstable, reasons } = byTest(list);
  for (const [test, { result }] of results) {
    if (unstable.has(test)) continue;
    const reason = reasons.get(test) ?? UNEXPLAINED;
    passes.delete(test);
    reasons.delete(test);
    if (result === 'pass') passes.add(test);
    if (result === 'fail') reasons.set(test, reason);
  }
  const fail = {};
  // In the list's order, so that an update moves nothing that it does not change.
  for (const reason of [...Object.keys(list.fail ?? {}), UNEXPLAINED]) {
    const tests = [...reasons].filter(([, given]) => given === reason).map(([test]) => test);
    if (tests.length > 0) fail[reason] = tests.sort();
  }
  return { unstable: Object.fromEntries(unstable), fail, pass: [...passes].sort() };
}
