/**
 * Keeps the host's event loop turning for the first moments of a program that runs already when it is handed over, so
 * that the outcome of a short one is heard at once.
 *
 * A thread that sleeps is woken late: up to a millisecond in a virtual machine, more than a small program takes. The loop
 * stays responsive; it is only not put to sleep, for at most {@link WINDOW_MS}.
 */

import { setImmediate } from "node:timers";

/** How long an outcome is waited for like this. */
const WINDOW_MS = 1;
/** A program that takes longer is not short, in milliseconds of the wall clock. */
const SHORT_MS = 2;

let pending = 0;
let lastWasShort = true;
let until = 0;

function turn(): void {
  if (pending === 1 && performance.now() < until) setImmediate(turn);
  else until = 0;
}

/** Notes that a program has begun. `awaited`: it runs, on a processor of its own. */
export function begin(awaited: boolean): void {
  pending += 1;
  if (!awaited || pending > 1 || !lastWasShort) return;
  const turns = until !== 0;
  until = performance.now() + WINDOW_MS;
  if (!turns) setImmediate(turn);
}

/** Notes that a program has ended after `wallMs` milliseconds. */
export function end(wallMs: number): void {
  pending -= 1;
  lastWasShort = wallMs < SHORT_MS;
}
