/**
 * Turns of the host's event loop: work that guests make it do takes a part of each, whatever they ask for, and the rest
 * waits for the next. All VMs of the process share it.
 */

/** What such work may take of one turn. */
const TURN_MS = 10;

/** When this turn's part is used up; 0 while nobody has begun. */
let ends = 0;
let waiting: (() => void)[] = [];

function next(): void {
  ends = 0;
  const first = waiting;
  waiting = [];
  for (const wake of first) wake();
}

/** Whether this turn's part is used up. Whoever asks begins it. */
export function isTurnOver(): boolean {
  const now = performance.now();
  if (ends === 0) {
    ends = now + TURN_MS;
    setImmediate(next);
  }
  return now >= ends;
}

/** Resolves when there is time: at once, or in a later turn. */
export async function turn(): Promise<void> {
  while (isTurnOver()) await new Promise<void>((resolve) => waiting.push(resolve));
}
