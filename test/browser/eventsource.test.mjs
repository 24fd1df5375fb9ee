import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launch, target } from './browser.mjs';
import { collect } from './eventsource.mjs';

let browser, server;
before(async () => { browser = await launch(); server = await target(); });
after(async () => { await browser.close(); await server.stop(); });

test('EventSource gets every event in order, each once', async () => {
  const { opens, events } = await collect(browser, server.normal, { types: ['tick', 'order'], events: 20 });
  assert.equal(opens, 1);
  const numbers = events.map(event => JSON.parse(event.data).n);
  assert.deepEqual(numbers, Array.from({ length: 20 }, (_, i) => numbers[0] + i));
  assert.equal(new Set(events.map(event => event.id)).size, 20);
});

test('EventSource comes back after a restart and misses nothing', async () => {
  const collected = collect(browser, server.normal, { types: ['tick', 'order'], events: 60, seconds: 60 });
  await new Promise(done => setTimeout(done, 1500));
  await server.restart();
  const { opens, events } = await collected;
  assert.ok(opens >= 2, `opened ${opens} times`);
  const numbers = events.map(event => JSON.parse(event.data).n);
  assert.deepEqual(numbers, Array.from({ length: 60 }, (_, i) => numbers[0] + i));
});

test('EventSource gets hostile data as it was sent, and no event more', async () => {
  const { readFile } = await import('node:fs/promises');
  const hostile = JSON.parse(await readFile(new URL('hostile.json', import.meta.url), 'utf8'));
  const { events } = await collect(browser, server.hostile, { types: ['forged'], events: hostile.length });
  assert.deepEqual(events.map(event => [event.type, event.data]), hostile.map(data => ['message', data.replace(/\r\n?/g, '\n')]));
});
