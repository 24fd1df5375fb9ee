import { test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { readFile } from 'node:fs/promises';
import { launch } from './browser.mjs';

test("the README's script receives events of every kind", async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const scripts = [...readme.matchAll(/^```js\n([^]*?)^```$/gm)].map(match => match[1]);
  assert.equal(scripts.length, 1);

  const server = http.createServer((req, res) => {
    if (req.url !== '/api/events') return res.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html>');
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.write('data: {"n":1}\n\nid: 7\nevent: order\ndata: {"n":2}\n\n' +
      'event: sse-gap\ndata: {"reason":"history"}\n\nevent: sse-error\ndata: {"reason":"upstream_error"}\n\n');
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const browser = await launch();
  try {
    const page = await browser.newPage(), said = [];
    const all = new Promise(done => page.on('console', message => {
      said.push(`${message.type()}: ${message.text()}`);
      if (said.length === 4) done();
    }));
    page.on('pageerror', error => said.push(`error: ${error.message}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.addScriptTag({ content: scripts[0] });
    await all;
    assert.deepEqual(said, ['log: {n: 1}', 'log: 7 {"n":2}', 'warning: {"reason":"history"}', 'warning: {"reason":"upstream_error"}']);
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
});
