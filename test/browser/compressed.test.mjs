// Compressed streams in a browser, and in Node's fetch. The upstream says the next record only once all have seen the last.
//
//   SSE_ZSTD_URL, SSE_GZIP_URL   shared streams, compressed with one coding each
//   SSE_PUSH                     the port of their upstream, to which records are pushed
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { launch } from './browser.mjs';

const { SSE_ZSTD_URL, SSE_GZIP_URL, SSE_PUSH } = process.env;
let browser, upstream, pushed = 0;
before(async () => {
  browser = await launch();
  upstream = net.connect(Number(SSE_PUSH), '127.0.0.1').setNoDelay();
  await once(upstream, 'connect');
});
after(async () => { await browser.close(); upstream.destroy(); });

// push sends the next record. Every ninth is long, and hardly repeats anything.
function push() {
  const levels = Array.from({ length: ++pushed % 9 ? 3 : 400 }, () => [Math.random().toFixed(4), Math.random()]);
  upstream.write(`${JSON.stringify({ n: pushed, symbol: 'ACME', text: 'a→b', pad: 'x'.repeat(pushed % 50), levels })}\n`);
  return pushed;
}
const within = (promise, what) => Promise.race([promise, new Promise((_, fail) => setTimeout(fail, 30_000, new Error(`no ${what} within 30 s`)).unref())]);

for (const [coding, url] of [['zstd', SSE_ZSTD_URL], ['gzip', SSE_GZIP_URL]]) {
  test(`EventSource gets each ${coding} event live, after joining at any time`, async () => {
    const page = await (await browser.newContext()).newPage();
    const codings = [];
    page.on('response', response => { if (response.url() === url) codings.push(response.headers()['content-encoding']); });
    const blank = new URL('/blank-page-of-this-test', url).href;
    await page.route(blank, route => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>EventSource</title>' }));
    await page.goto(blank);
    await page.evaluate(() => { window.sources = []; });
    const join = () => page.evaluate(url => new Promise((resolve, reject) => {
      const source = new EventSource(url), seen = { numbers: [], errors: 0 };
      source.onmessage = event => seen.numbers.push(JSON.parse(event.data).n);
      source.onerror = () => { seen.errors++; reject(new Error('EventSource failed')); };
      source.onopen = () => resolve();
      window.sources.push(seen);
    }), url);
    const first = [];
    for (let round = 0; round < 4; round++) {
      await within(join(), 'response');
      first.push(pushed + 1);
      for (let i = 0; i < 7 + round * 20; i++) {
        const n = push();
        await within(page.waitForFunction(n => window.sources.every(seen => seen.numbers.at(-1) === n), n, { polling: 5 }), `event ${n}`);
      }
    }
    const sources = await page.evaluate(() => window.sources);
    sources.forEach((seen, i) => {
      assert.equal(seen.errors, 0);
      assert.deepEqual(seen.numbers, Array.from({ length: pushed - first[i] + 1 }, (_, j) => first[i] + j));
    });
    assert.deepEqual(codings, Array(4).fill(coding));
    await page.context().close();
  });
}

test('fetch in Node gets each gzip event live', async () => {
  const leave = new AbortController();
  const response = await fetch(SSE_GZIP_URL, { headers: { Accept: 'text/event-stream' }, signal: leave.signal });
  assert.equal(response.headers.get('content-encoding'), 'gzip');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  const read = async wanted => { while (!text.includes(wanted)) text += (await reader.read()).value; };
  await within(read('id:'), 'opening block');
  for (let i = 0; i < 100; i++) {
    const n = push();
    await within(read(`"n":${n},`), `event ${n}`);
  }
  leave.abort();
  await reader.read().catch(() => {});
});
