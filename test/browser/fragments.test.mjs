// Streams of HTML that pages put into themselves: htmx and Datastar. A record's text is whatever somebody has written.
//
//   FRAGMENTS_URL   a site with the streams /htmx and /datastar, whose templates say |html, and /htmx-raw and
//                   /datastar-raw, whose templates do not; each has an element for each string of hostile.json
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { launch } from './browser.mjs';

const { FRAGMENTS_URL: site } = process.env;
const hostile = JSON.parse(readFileSync(new URL('hostile.json', import.meta.url), 'utf8'));
const modules = createRequire(import.meta.url).resolve.paths('x')[0];
const script = name => readFileSync(`${modules}/${name}`, 'utf8');

const pages = {
  htmx: stream => ({
    body: `<ul id="feed" hx-ext="sse" sse-connect="/${stream}" sse-swap="message" hx-swap="beforeend"></ul><ul id="other"></ul>`,
    scripts: [['text/javascript', script('htmx.org/dist/htmx.js')], ['text/javascript', script('htmx-ext-sse/sse.js')]],
  }),
  datastar: stream => ({
    body: `<ul id="feed" data-on-load="@get('/${stream}')"></ul><ul id="other"></ul>`,
    scripts: [['module', script('@starfederation/datastar/dist/datastar.js')]],
  }),
};

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

async function show(framework, stream) {
  const context = await browser.newContext(), page = await context.newPage(), { body, scripts } = pages[framework](stream);
  page.on('dialog', dialog => dialog.dismiss());
  const address = `${site}/page-of-${stream}`;
  await page.route(address, route => route.fulfill({ contentType: 'text/html; charset=utf-8', body: `<!doctype html><title>${framework}</title><body>` }));
  await page.goto(address);
  const put = () => page.evaluate(body => { document.body.innerHTML = body; window.htmx?.process(document.body); }, body);
  if (framework === 'datastar') await put(); // it looks at the page once, when it is loaded
  for (const [type, content] of scripts) await page.addScriptTag({ type, content });
  if (framework === 'htmx') await put(); // its extension has to be there before
  return { page, context };
}

for (const framework of Object.keys(pages)) {
  test(`${framework} shows each record that |html escapes as text, and nothing of it is HTML`, async () => {
    const { page, context } = await show(framework, framework);
    await page.waitForFunction(n => document.querySelectorAll('#feed > li').length >= n, hostile.length, { timeout: 30_000 });
    const shown = await page.evaluate(() => ({
      texts: [...document.querySelectorAll('#feed > li')].map(item => item.textContent),
      titles: [...document.querySelectorAll('#feed > li')].map(item => item.title),
      attributes: [...document.querySelectorAll('#feed > li')].map(item => item.getAttributeNames().filter(name => name !== 'class').join()), // htmx marks what it has added
      children: document.querySelectorAll('#feed > li *').length,
      outside: document.querySelectorAll('#other > *').length,
      pwned: window.pwned ?? null,
    }));
    // A parser of HTML reads a carriage return as a line feed, and drops or replaces U+0000.
    const plain = text => text.replace(/\s+/g, ' ').replace(/[\0\uFFFD]/g, '').trim();
    assert.deepEqual(shown.texts.map(plain), hostile.map(plain));
    assert.deepEqual(shown.titles.map(plain), hostile.map(plain));
    assert.deepEqual([...new Set(shown.attributes)], ['title']);
    assert.deepEqual([shown.children, shown.outside, shown.pwned], [0, 0, null]);
    await context.close();
  });

  test(`${framework} runs what is in a record without |html, so that this test would notice`, async () => {
    const { page, context } = await show(framework, `${framework}-raw`);
    await page.waitForFunction(() => window.pwned !== undefined, undefined, { timeout: 30_000 });
    await context.close();
  });
}
