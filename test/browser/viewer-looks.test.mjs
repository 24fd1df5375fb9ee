// How the viewer looks, in each state, light and dark, on a desk and on a phone. With VIEWER_SHOTS=<folder> it leaves pictures.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { launch, open } from './browser.mjs';
import { serve } from './server.mjs';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
let browser, server, base;
before(async () => {
  browser = await launch();
  server = serve();
  base = `http://127.0.0.1:${await server.listen()}`;
});
after(async () => { await browser.close(); await server.stop(); });

const until = (page, condition, argument) => page.waitForFunction(condition, argument, { timeout: 60_000 });
const rows = (page, n) => until(page, n => document.querySelectorAll('li').length >= n, n);
const events = n => Array.from({ length: n }, (_, i) => `id: ${i}\nevent: ${['tick', 'order'][i % 2]}\ndata: {"n":${i},"price":${i}.5,"user":{"name":"Ann"}}\n\n`).join('');
const answer = (url, response) => page => page.route(url, (route, request) =>
  request.headers().accept === 'text/event-stream' ? route.fulfill(response) : route.continue());
const stream = body => ({ status: 200, contentType: 'text/event-stream', body });

const states = {
  empty: { path: '/nothing', act: page => until(page, () => document.getElementById('stateName').textContent === 'Live') },
  busy: { path: '/normal', act: async page => { await rows(page, 30); await page.locator('li .head').nth(-3).click(); } },
  columns: {
    path: '/normal',
    act: async page => { await rows(page, 30); await page.locator('#fields').fill('symbol, price, book.bids.0'); await page.getByRole('button', { name: 'Pause' }).click(); },
  },
  failed: {
    path: '/failed', response: stream('retry: 60000\n\n' + events(5) +
      'event: sse-gap\ndata: {"reason":"history","last_event_id":"2","oldest_id":"9"}\n\nevent: sse-error\ndata: {"reason":"upstream_error"}\n\n'),
    act: page => rows(page, 7),
  },
  refused: {
    path: '/refused', response: { status: 403, contentType: 'text/plain', body: 'no' },
    act: page => until(page, () => document.getElementById('state').dataset.state === 'refused'),
  },
};

for (const [name, { path, response, act }] of Object.entries(states)) {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 390]) {
      test(`axe finds nothing: ${name}, ${colorScheme}, ${width} pixels wide`, async () => {
        const url = base + path;
        const { page, context } = await open(browser, url, {
          colorScheme, viewport: { width, height: width > 500 ? 720 : 844 }, bypassCSP: true, ...response && { before: answer(url, response) },
        });
        await act(page);
        await page.addScriptTag({ path: axe });
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(' ')}`), []);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the window');
        if (process.env.VIEWER_SHOTS) await page.screenshot({ path: `${process.env.VIEWER_SHOTS}/${name}-${colorScheme}-${width}.png` });
        await context.close();
      });
    }
  }
}

test('10,000 events at once leave a page that scrolls and filters', async () => {
  const url = base + '/many';
  const { page, context, faults } = await open(browser, url, { before: answer(url, stream('retry: 600000\n\n' + events(10_000))) });
  await until(page, () => document.getElementById('total').textContent === '10,000');
  await page.locator('#fields').fill('n, user.name');
  // A page that is overrun draws no frames. How many a busy machine draws says nothing.
  const seen = await page.evaluate(() => new Promise(resolve => {
    const began = performance.now(), scroller = document.getElementById('scroll');
    let frames = 0, longest = 0, last = began;
    requestAnimationFrame(function frame(now) {
      frames++;
      longest = Math.max(longest, now - last);
      last = now;
      scroller.scrollTop = frames % 2 ? 0 : scroller.scrollTop + 400 * frames;
      if (frames % 10 === 0) {
        document.getElementById('filter').value = String(frames);
        document.getElementById('filter').dispatchEvent(new Event('input'));
      }
      if (frames === 120) resolve({ frames, longest, seconds: (now - began) / 1000, rows: document.querySelectorAll('li').length });
      else requestAnimationFrame(frame);
    });
  }));
  console.log(`# ${(seen.frames / seen.seconds).toFixed(1)} frames a second, the longest took ${Math.round(seen.longest)} ms`);
  assert.ok(seen.rows <= 501, `${seen.rows} rows`);
  assert.deepEqual(await faults(), []);
  await context.close();
});
