// Debian's Chromium without a window.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser'];
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where Chromium is, if it is installed. `CHROMIUM` names another place. */
export function findChromium() {
  const places = process.env.CHROMIUM === undefined ? PLACES : [process.env.CHROMIUM];
  return places.find((place) => existsSync(place));
}

/** Shows an address in a new browser, and calls `use` with the page. */
export async function withPage(url, use) {
  const { chromium } = await import('playwright-core');
  const profile = await mkdtemp(path.join(tmpdir(), 'chromium-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: findChromium(),
    headless: true,
    args: ARGS,
    viewport: { width: 800, height: 500 },
    timeout: 120_000,
  });
  try {
    browser.setDefaultTimeout(120_000);
    const page = await browser.newPage();
    await page.goto(url);
    return await use(page);
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}
