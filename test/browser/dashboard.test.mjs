// The page of examples/dashboard, over the streams of a real Caddy.
//
//   DASHBOARD_URL       the site
//   DASHBOARD_RESTART   a URL that restarts the server when it is asked
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { launch } from './browser.mjs';

const { DASHBOARD_URL: url, DASHBOARD_RESTART: restart } = process.env;
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const until = (page, condition, argument) => page.waitForFunction(condition, argument, { timeout: 30_000 });
const bothAre = (page, state) => until(page, state => [...document.querySelectorAll('.state')].every(e => e.dataset.state === state), state);
const visitURL = address => fetch(address).then(response => response.text());
const visit = path => visitURL(url + path);

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage(), faults = [];
  page.on('pageerror', error => faults.push(error.message));
  page.on('console', message => { if (/Content.Security.Policy/i.test(message.text())) faults.push(message.text()); });
  await page.goto(url);
  await bothAre(page, 'live');
  return { page, context, faults };
}

test('the chart and the table follow their streams, through a restart of the server', async () => {
  const { page, context, faults } = await open();
  await visit('/shop/first');
  await visit('/shop/%3Cimg%20src=x%20onerror=alert(1)%3E');
  await until(page, () => document.querySelectorAll('#rows tr').length >= 2);
  const row = page.locator('#rows tr').first();
  assert.match(await row.textContent(), /GET\/shop\/%3Cimg%20src=x%20onerror=alert\(1\)%3E200/);
  assert.equal(await page.locator('#rows img').count(), 0);
  await until(page, () => /^M\d/.test(document.getElementById('user-area').getAttribute('d') ?? ''));
  assert.match(await page.locator('#user').textContent(), /^\d+ %$/);
  assert.match(await page.locator('#chart').getAttribute('aria-label'), /now \d+ %, on average \d+ %/);

  await page.getByRole('button', { name: 'Pause' }).click();
  const before = await page.locator('#rows tr').count();
  await visit('/shop/paused');
  await new Promise(done => setTimeout(done, 500));
  assert.equal(await page.locator('#rows tr').count(), before);
  await page.getByRole('button', { name: 'Pause' }).click();
  await until(page, n => document.querySelectorAll('#rows tr').length === n + 1, before);

  const lost = until(page, () => [...document.querySelectorAll('.state')].every(e => e.dataset.state === 'lost'));
  await Promise.all([visitURL(restart), lost]);
  await visit('/shop/afterwards');
  await bothAre(page, 'live');
  await until(page, () => document.querySelector('#rows td:nth-child(3)').textContent === '/shop/afterwards');
  const all = await page.locator('#rows td:nth-child(3)').allTextContents(), paths = all.filter(path => path.startsWith('/shop/'));
  assert.deepEqual(paths.slice(0, 4).map(path => path.slice(0, 12)), ['/shop/afterw', '/shop/paused', '/shop/%3Cimg', '/shop/first']);
  assert.deepEqual(faults, []);
  await context.close();
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 390]) {
    test(`axe finds nothing, ${colorScheme}, ${width} pixels wide`, async () => {
      const { page, context, faults } = await open({ colorScheme, viewport: { width, height: 844 }, bypassCSP: true });
      await visit('/shop/row');
      await until(page, () => document.querySelectorAll('#rows tr').length > 0 && !document.querySelector('#rows code'));
      await page.addScriptTag({ path: axe });
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(' ')}`), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the window');
      if (process.env.DASHBOARD_SHOTS) await page.screenshot({ path: `${process.env.DASHBOARD_SHOTS}/dashboard-${colorScheme}-${width}.png` });
      assert.deepEqual(faults, []);
      await context.close();
    });
  }
}
