import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { collect } from './eventsource.mjs';
import { download, launch, open, target } from './browser.mjs';
import { serve } from './server.mjs';

let browser, server, own, ownBase;
before(async () => {
  browser = await launch();
  server = await target();
  own = serve(); // for what no real server sends on demand
  ownBase = `http://127.0.0.1:${await own.listen()}`;
});
after(async () => { await browser.close(); await server.stop(); await own.stop(); });

const count = page => page.locator('#total').textContent().then(text => Number(text.replaceAll(',', '')));
const until = (page, condition, argument) => page.waitForFunction(condition, argument, { timeout: 30_000 });
const atLeast = (page, n) => until(page, n => Number(document.getElementById('total').textContent.replaceAll(',', '')) >= n, n);
const standing = (page, name) => until(page, name => document.getElementById('stateName').textContent.startsWith(name), name);
const pause = ms => new Promise(done => setTimeout(done, ms));

// answer stands in for the server: the page is its own, the stream's response is made up here.
const answer = (url, reply) => page => page.route(url, (route, request) =>
  request.headers().accept === 'text/event-stream' ? reply(route, request) : route.continue());
const events = body => route => route.fulfill({ status: 200, contentType: 'text/event-stream', body });

test('events appear as they come, with type, id, time and data', async () => {
  const { page, context, faults } = await open(browser, server.normal);
  await atLeast(page, 15);
  const row = page.locator('li .head').last();
  assert.match(await row.locator('time').textContent(), /^\d\d:\d\d:\d\d\.\d{3}$/);
  assert.match(await row.locator('.data').textContent(), /"n": \d+/);
  assert.notEqual(await row.locator('.id').textContent(), '');
  assert.match(await page.locator('.numbers .id').textContent(), /\S/);
  for (const type of ['tick', 'order', 'message']) assert.equal(await page.getByRole('checkbox', { name: type }).isChecked(), true);
  await standing(page, 'Live');
  await until(page, path => document.title.includes(path) && /\d/.test(document.title), new URL(server.normal).pathname);
  assert.notEqual(await page.locator('#bars').getAttribute('d'), '');
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('the filter shows only events with the text and of the chosen types', async () => {
  const { page, context, faults } = await open(browser, server.normal);
  await atLeast(page, 10);
  await page.locator('label.chip', { hasText: 'tick' }).click();
  await until(page, () => document.querySelectorAll('li').length > 0 && [...document.querySelectorAll('li .type')].every(type => type.textContent !== 'tick'));
  await page.locator('label.chip', { hasText: 'tick' }).click();
  await until(page, () => [...document.querySelectorAll('li .type')].some(type => type.textContent === 'tick'));
  const n = JSON.parse((await download(page)).text.split('\n')[4]).data.n;
  await page.getByRole('searchbox').fill(`"N":${n},`); // in either case
  await until(page, () => document.querySelectorAll('li').length === 1);
  assert.match(await page.locator('li .data').textContent(), new RegExp(`"n": ${n},`));
  await page.getByRole('searchbox').fill('no event has this text (.*');
  await page.getByText('No kept event matches').waitFor();
  assert.equal((await download(page)).text, '');
  const before = await count(page);
  await atLeast(page, before + 3); // counting goes on behind a filter
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('chosen fields of JSON are columns, and other events are shown whole', async () => {
  const records = ['{"id":12345678901234567890,"user":{"name":"Ann\\u202e"},"tags":["a","b"],"a.b":true}', '{"user":"<b>Bob</b>"}', 'text, not JSON', '[1,{"name":2}]'];
  const { page, context, faults } = await open(browser, ownBase + '/columns', { before: answer(ownBase + '/columns', events(records.map(record => `data: ${record}\n\n`).join(''))) });
  await atLeast(page, 4);
  const rows = () => page.locator('li .data').allTextContents();
  const whole = await rows();
  await page.getByRole('textbox', { name: /columns/ }).fill(' id, user.name ,tags.1,a\\.b, tags,');
  await until(page, () => document.querySelectorAll('.cells').length === 3);
  assert.deepEqual(await rows(), ['id 12345678901234567890user.name AnnU+202Etags.1 ba.b truetags ["a","b"]',
    'id –user.name –tags.1 –a.b –tags –', whole[2], 'id –user.name –tags.1 –a.b –tags –']);
  await page.getByRole('textbox', { name: /columns/ }).fill('user');
  assert.deepEqual(await rows(), ['user {"name":"Ann\\u202e"}', 'user <b>Bob</b>', whole[2], 'user –']);
  await page.getByRole('textbox', { name: /columns/ }).fill('');
  assert.deepEqual(await rows(), whole);
  assert.equal(await page.locator('li b').count(), 0);
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('one checkbox shows all types or none', async () => {
  const { page, context } = await open(browser, server.normal);
  await atLeast(page, 15);
  const all = page.getByRole('checkbox', { name: 'All' });
  await page.locator('label.chip', { hasText: 'All' }).click();
  await until(page, () => document.querySelectorAll('li').length === 0);
  await page.locator('label.chip', { hasText: 'order' }).click();
  await until(page, () => [...document.querySelectorAll('li .type')].some(type => type.textContent === 'order'));
  assert.deepEqual([...new Set(await page.locator('li .type').allTextContents())], ['order']);
  assert.equal(await all.evaluate(node => node.indeterminate), true);
  await page.locator('label.chip', { hasText: 'All' }).click();
  await until(page, () => new Set([...document.querySelectorAll('li .type')].map(type => type.textContent)).size === 3);
  await context.close();
});

test('more types than one can choose from share a checkbox', async () => {
  const body = Array.from({ length: 100 }, (_, n) => `event: type-${n}\ndata: ${n}\n\n`).join('');
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, events(`retry: 60000\n${body}`)) });
  await atLeast(page, 100);
  assert.equal(await page.getByRole('checkbox').count(), 26); // all, 24 types, and the others
  await page.locator('label.chip', { hasText: 'other types' }).click();
  await until(page, () => document.querySelectorAll('li .head').length === 24);
  await context.close();
});

test('pause holds the view while events go on being counted, and resume shows them', async () => {
  const { page, context } = await open(browser, server.normal);
  await atLeast(page, 5);
  await page.getByRole('button', { name: 'Pause' }).click();
  const rows = await page.locator('li').allTextContents(), total = await count(page);
  await atLeast(page, total + 10);
  assert.deepEqual(await page.locator('li').allTextContents(), rows);
  assert.equal((await download(page)).events.length, rows.length);
  await page.getByRole('button', { name: 'Resume' }).click();
  await until(page, n => document.querySelectorAll('li').length >= n, rows.length + 10);
  await context.close();
});

test('clear empties the view and what is kept', async () => {
  const { page, context } = await open(browser, server.normal);
  await atLeast(page, 10);
  const last = (await download(page)).events.at(-1).data.n;
  await page.getByRole('button', { name: 'Clear' }).click();
  await until(page, last => document.querySelector('li') && Number(document.querySelector('li .data').textContent.match(/"n": (\d+)/)[1]) > last, last);
  const { events } = await download(page);
  assert.ok(events.length > 0 && events.every(event => event.data.n > last));
  await context.close();
});

test('a restarted server is found again and the stream resumes where it was', async () => {
  const { page, context, faults } = await open(browser, server.normal);
  const sent = [];
  page.on('request', async request => sent.push((await request.allHeaders())['last-event-id']));
  await atLeast(page, 10);
  await server.restart();
  await page.getByText('Connected again').waitFor({ timeout: 30_000 });
  const before = await count(page);
  await atLeast(page, before + 10);
  const { events } = await download(page);
  const numbers = events.map(event => event.data.n);
  assert.deepEqual(numbers, Array.from({ length: numbers.length }, (_, i) => numbers[0] + i), 'nothing lost, nothing twice');
  assert.ok(events.some(event => event.id === sent.at(-1)), `Last-Event-ID was ${sent.at(-1)}`);
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('hostile data is shown as text, and nothing of it runs', async () => {
  const hostile = JSON.parse(await readFile(new URL('hostile.json', import.meta.url), 'utf8'));
  const { page, context, faults } = await open(browser, server.hostile);
  await atLeast(page, hostile.length);
  const { events } = await download(page);
  const sent = hostile.map(data => data.replace(/\r\n?/g, '\n'));
  const asSent = event => typeof event.data === 'string' ? event.data : sent[4];
  assert.deepEqual(events.slice(0, sent.length).map(asSent), sent);
  assert.ok(!events.some(event => event.type === 'forged' || event.id === '666'));
  await page.evaluate(() => document.querySelectorAll('li .head').forEach(head => head.click())); // unfold everything
  const shown = await page.locator('li .detail .body').allTextContents();
  assert.equal(shown[0], sent[0]);
  assert.equal(shown[1], sent[1]);
  assert.match(shown[4], /12345678901234567890123.*1\.10/s, 'numbers keep their digits, duplicate keys stay');
  assert.match(shown[8], /U\+2028 and paragraph separator U\+2029/);
  assert.match(shown[9], /U\+202E/);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.locator('#list :is(img, script, svg, a, iframe, b, i)').count(), 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('a line of a megabyte is cut in the view and shown in full on demand', async () => {
  const data = `${'x'.repeat(1 << 20)}<img src=x onerror="window.pwned=1">`;
  const { page, context, faults } = await open(browser, server.normal, { before: answer(server.normal, events(`retry: 60000\ndata: ${data}\n\n`)) });
  await page.locator('li .head').click();
  assert.ok((await page.locator('.body').textContent()).length < 30_000);
  await page.getByRole('button', { name: /^Show all/ }).click();
  assert.equal(await page.locator('.body').textContent(), data);
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('large events are let go by their size, from the view too', async () => {
  const body = Array.from({ length: 24 }, (_, n) => `data: ${n} ${'x'.repeat(1 << 20)}\n\n`).join('');
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, events(`retry: 60000\n${body}`)) });
  await atLeast(page, 24);
  await standing(page, 'Reconnecting');
  await until(page, () => /^23 /.test(document.querySelector('li:nth-last-child(2) .data')?.textContent));
  assert.equal((await download(page)).events.length, 15);
  assert.equal(await page.locator('li .head').count(), 15);
  await context.close();
});

test('at 1,000 events/s the document stays small and the page answers', async () => {
  const { page, context, faults } = await open(browser, server.fast);
  await atLeast(page, 1000);
  const before = await count(page);
  const seen = await page.evaluate(() => new Promise(resolve => {
    let frames = 0, most = 0, longest = 0, last = performance.now();
    const began = last;
    requestAnimationFrame(function frame(now) {
      frames++;
      longest = Math.max(longest, now - last);
      last = now;
      most = Math.max(most, document.querySelectorAll('li').length);
      // A busy machine draws fewer frames a second; a page that is overrun draws none.
      if (now - began > 5000 && frames > 60) resolve({ frames, most, longest, seconds: (now - began) / 1000, nodes: document.querySelectorAll('*').length });
      else if (now - began > 60_000) resolve({ frames, most, longest: Infinity });
      else requestAnimationFrame(frame);
    });
  }));
  const gained = await count(page) - before;
  console.log(`# in ${seen.seconds?.toFixed(1)} s: ${gained} events, ${seen.frames} frames, longest ${Math.round(seen.longest)} ms, ${seen.nodes} nodes`);
  assert.ok(seen.most <= 500, `${seen.most} rows`);
  assert.ok(gained > 1000, `${gained} events`);
  assert.ok(seen.frames > 60, `${seen.frames} frames in a minute`);
  await page.getByRole('button', { name: 'Pause' }).click();
  const rows = await page.locator('li').last().textContent();
  await atLeast(page, await count(page) + 7000);
  assert.equal(await page.locator('li').last().textContent(), rows);
  await page.getByRole('button', { name: 'Resume' }).click();
  const { events: keptEvents } = await download(page);
  assert.ok(keptEvents.length <= 5000, `${keptEvents.length} events are kept`);
  const numbers = keptEvents.map(event => event.data.n);
  assert.deepEqual(numbers, Array.from({ length: numbers.length }, (_, i) => numbers[0] + i));
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('a reader who scrolls back is left there, and follows again on demand', async () => {
  const { page, context } = await open(browser, server.fast);
  await atLeast(page, 600);
  await page.locator('#scroll').hover();
  await page.mouse.wheel(0, -2000);
  const follow = page.getByRole('button', { name: /Follow/ });
  await follow.waitFor();
  // What was left out because nobody could have read it is there for who stays.
  const numbers = (await page.locator('li .data').allTextContents()).map(text => Number(text.match(/"n": (\d+)/)[1]));
  assert.deepEqual(numbers, Array.from({ length: 500 }, (_, i) => numbers[0] + i));
  const rows = await page.locator('li').allTextContents(), top = await page.locator('#scroll').evaluate(node => node.scrollTop);
  await atLeast(page, await count(page) + 1000);
  assert.deepEqual(await page.locator('li').allTextContents(), rows);
  assert.equal(await page.locator('#scroll').evaluate(node => node.scrollTop), top);
  await follow.click();
  await follow.waitFor({ state: 'hidden' });
  await until(page, last => document.querySelector('li:last-child').textContent !== last, rows.at(-1));
  await context.close();
});

for (const width of [320, 768, 1920]) {
  test(`at ${width} px nothing is cut off and nothing scrolls sideways`, async () => {
    const { page, context } = await open(browser, server.normal, { viewport: { width, height: 700 } });
    await atLeast(page, 10);
    await page.locator('li .head').last().click();
    const wide = await page.evaluate(() => [...document.querySelectorAll('body, header, header *, .tools, .tools *, #scroll, li, .detail, footer')]
      .filter(node => !node.closest('.quiet') && (node.getBoundingClientRect().right > innerWidth + 1 || node.getBoundingClientRect().left < -1)).map(node => node.outerHTML.slice(0, 80)));
    assert.deepEqual(wide, []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await context.close();
  });
}

test('everything can be done with the keyboard alone', async () => {
  const { page, context, faults } = await open(browser, server.normal, { permissions: ['clipboard-read', 'clipboard-write'] });
  await atLeast(page, 40); // more than fit the window
  const press = key => page.keyboard.press(key);
  const name = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.type);
  await press('Tab');
  assert.equal(await name(), 'filter');
  await page.keyboard.type('symbol');
  await press('Tab');
  assert.equal(await name(), 'fields');
  await press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.type), 'checkbox');
  await press('Space');
  assert.equal(await page.evaluate(() => document.activeElement.checked), false);
  await press('Space');
  while (await name() !== 'pause') await press('Tab');
  await press('Enter');
  await page.getByRole('button', { name: 'Resume' }).waitFor();
  await press('Enter');
  while (await name() !== 'download') await press('Tab');
  await press('Tab');
  assert.equal(await name(), 'scroll');
  await press('Tab');
  assert.equal(await name(), 'head');
  await press('ArrowUp');
  await press('ArrowUp');
  const row = page.locator('li:focus-within');
  await press('Enter');
  assert.equal(await row.locator('.head').getAttribute('aria-expanded'), 'true');
  const n = Number((await row.locator('.body').textContent()).match(/"n": (\d+)/)[1]);
  await press('c');
  await page.getByText('Copied the data of one event').first().waitFor();
  assert.equal(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())).n, n);
  await press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Copy data');
  await press('Tab');
  await press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'SUMMARY');
  await press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.parentNode.open), false);
  await row.locator('.head').focus();
  await press('ArrowLeft');
  assert.equal(await row.locator('.head').getAttribute('aria-expanded'), 'false');
  await press('End');
  assert.equal(await name(), 'scroll');
  await page.getByRole('button', { name: /Follow/ }).waitFor({ state: 'hidden' });
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('a screen reader hears how the stream stands, and not every event', async () => {
  const { page, context } = await open(browser, server.normal, { reducedMotion: 'reduce', before: answer(server.normal, events('retry: 60000\ndata: 1\n\n')) });
  await standing(page, 'Reconnecting');
  assert.match(await page.getByRole('status').textContent(), /^Disconnected: /);
  assert.equal(await page.locator('[aria-live], [role=log], [role=alert]').count(), 0);
  for (const role of ['banner', 'main', 'contentinfo', 'list', 'searchbox']) assert.equal(await page.getByRole(role).count(), 1, role);
  assert.equal(await page.locator('.dot').evaluate(node => getComputedStyle(node).animationName), 'none');
  await page.getByRole('searchbox').fill('none has this');
  await page.getByRole('status').getByText('0 events shown').waitFor({ state: 'attached' });
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('button:not(.head, [hidden]), input')].filter(node => !(node.ariaLabel || node.textContent || node.labels?.length)).length), 0);
  await context.close();
});

test('control events stand out with their reason', async () => {
  const body = 'retry: 60000\nid: 1\ndata: a\n\nevent: sse-gap\ndata: {"reason":"the client was too slow","last_event_id":"1","oldest_id":"9"}\n\nevent: sse-error\ndata: {"reason":"the upstream broke off"}\n\n';
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, events(body)) });
  assert.match(await page.locator('li.gap').textContent(), /Events were lost: the client was too slow \(last seen 1, oldest kept 9\)/);
  assert.match(await page.locator('li.error').textContent(), /The upstream failed: the upstream broke off/);
  assert.equal(await page.locator('#lastId').textContent(), '1');
  await context.close();
});

test("the types that a config gives to the server's own events are known", { skip: process.env.SSE_OWN_URL ? false : 'it needs the real server' }, async () => {
  const { page, context, faults } = await open(browser, process.env.SSE_OWN_URL);
  await page.locator('li.live .data', { hasText: 'What follows is live' }).waitFor();
  await page.locator('li.error .data', { hasText: 'The upstream failed: "no memory"' }).waitFor({ timeout: 30_000 });
  assert.equal(await page.locator('.type', { hasText: 'alive' }).count(), 0);
  assert.deepEqual(await faults(), []);
  await context.close();
});

test("the server's own reasons are put into words", async () => {
  const body = 'retry: 60000\n\nevent: sse-gap\ndata: {"reason":"history","last_event_id":"1","oldest_id":"9"}\n\nevent: sse-gap\ndata: {"reason":"lag"}\n\n' +
    'event: sse-gap\ndata: {"reason":"upstream"}\n\nevent: sse-gap\ndata: {"reason":"record_too_large"}\n\n' +
    'event: sse-error\ndata: {"reason":"record_too_large"}\n\nevent: sse-error\ndata: {"reason":"invalid_record"}\n\nevent: sse-error\ndata: {"reason":"upstream_error"}\n\n' +
    'event: sse-error\ndata: {"reason":"upstream_timeout"}\n\nevent: sse-error\ndata: {"reason":"unavailable","status":503}\n\n';
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, events(body)) });
  await until(page, () => document.querySelectorAll('li .head').length === 9);
  assert.deepEqual(await page.locator('li .data').allTextContents(), [
    'Events were lost: they are no longer kept (last seen 1, oldest kept 9)', 'Events were lost: this client was too slow',
    'Events were lost: the upstream could not go on where it was', 'Events were lost: a record was too large',
    'The upstream failed: a record was too large', 'The upstream failed: a record was not JSON', 'The upstream failed',
    'The upstream failed: it has sent nothing for too long', 'The upstream failed: the stream could not be opened (status 503)',
  ]);
  await context.close();
});

test('control events that say something odd are shown all the same', async () => {
  const odd = ['null', 'no JSON', '{"reason":{"toString":1},"last_event_id":{"toString":1,"valueOf":1}}', '[]', '""'];
  const { page, context, faults } = await open(browser, server.normal, { before: answer(server.normal, events(`retry: 60000\n${odd.map(data => `event: sse-gap\ndata: ${data}\n\n`).join('')}`)) });
  await until(page, n => document.querySelectorAll('li.gap').length === n, odd.length);
  assert.deepEqual(await page.locator('li.gap .data').allTextContents(), odd.map(data => `Events were lost: ${data}`));
  assert.deepEqual(await faults(), []);
  await context.close();
});

test('an id without data moves Last-Event-ID, also one that is not ASCII', async () => {
  const { page, context } = await open(browser, `${ownBase}/echo`);
  await page.locator('li .data', { hasText: 'you sent é€-7' }).waitFor();
  assert.equal(await page.locator('#lastId').textContent(), 'é€-7');
  await context.close();
});

for (const [name, reply, state, why] of [
  ['204 ends the stream for good', { status: 204 }, 'Ended', '204'],
  ['a 401 is a refusal', { status: 401, contentType: 'text/plain', body: '' }, 'Refused', 'log in'],
  ['a 403 is a refusal', { status: 403, contentType: 'text/event-stream', body: '' }, 'Refused', '403'],
  ['a response of another type is a refusal', { status: 200, contentType: 'application/json', body: '{}' }, 'Refused', 'application/json'],
]) {
  test(`${name}, until asked to try again`, async () => {
    let asked = 0, cured = false;
    const reply1 = route => (asked++, cured ? events('retry: 60000\ndata: cured\n\n')(route) : route.fulfill(reply));
    const { page, context } = await open(browser, server.normal, { before: answer(server.normal, reply1) });
    await standing(page, state);
    assert.match(await page.locator('#stateWhy').textContent(), new RegExp(why));
    await pause(4000); // longer than the default retry
    assert.equal(asked, 1);
    cured = true;
    await page.getByRole('button', { name: 'Reconnect now' }).click();
    await page.locator('li .data', { hasText: 'cured' }).waitFor();
    await context.close();
  });
}

test('a server that is away for a moment is asked again, ever more slowly', async () => {
  const times = [];
  const reply = route => (times.push(Date.now()), times.length <= 1 ? events('retry: 300\ndata: 1\n\n')(route) : times.length < 6 ? route.fulfill({ status: 502 }) : events('retry: 60000\ndata: back\n\n')(route));
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, reply) });
  await page.locator('li .data', { hasText: 'back' }).waitFor();
  assert.equal(times.length, 6);
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  assert.ok(gaps[1] >= 290 && gaps[2] >= 590 && gaps[3] >= 1190 && gaps[4] >= 2390, `gaps of ${gaps}`);
  await context.close();
});

// The browser's own EventSource is the measure: the viewer has to find the same events in the same bytes.
const bodies = {
  'LF, CR and CRLF': 'data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\rdata: e\n\r\ndata: f\r\n\n',
  'a byte order mark, once': '\ufeffdata: a\n\n\ufeffdata: b\n\ndata: \ufeffc\n\n',
  'comments and unknown fields': ': hello\ndata: a\nfoo: bar\nDATA: x\n data: y\n\n:\n\ndata\n\ndata:\n\ndata:  two\n\ndata:: colon\n\n',
  'ids': 'id: 1\ndata: a\n\nid\ndata: b\n\ndata: c\n\nid: 3\0\ndata: d\n\nid: ü 4\ndata: e\n\nid: 5\n\n',
  'types': 'event: x\ndata: a\n\nevent: x\n\ndata: b\n\nevent: y\nevent: x\ndata: c\n\nevent:\ndata: d\n\n',
  'retry that is no number': 'retry: 1e3\ndata: a\n\nretry: -1\nretry:\ndata: b\n\n',
  'characters of several bytes': 'data: ü€🎉\u2028x\u0085y\n\ndata: \u{10ffff}\n\n',
  'an end in the middle': 'data: a\n\ndata: b\n',
};
for (const [name, body] of Object.entries(bodies)) {
  for (const step of [1, 3, 1000]) {
    test(`the stream is read as EventSource reads it: ${name}, ${step} bytes at a time`, async () => {
      const url = `${ownBase}/raw?step=${step}&body=${Buffer.from(body).toString('base64url')}`;
      const { events } = await collect(browser, url, { types: ['x', 'y'], reconnects: 0 });
      const { page, context } = await open(browser, url);
      await standing(page, 'Reconnecting');
      await page.getByRole('button', { name: 'Pause' }).click();
      const shown = (await download(page)).events;
      await context.close();
      let id = '';
      const asSource = shown.map(event => ({ type: event.event, data: typeof event.data === 'string' ? event.data : JSON.stringify(event.data), id: id = event.id ?? id }));
      assert.deepEqual(asSource, events.map(({ type, data, id }) => ({ type, data, id })));
    });
  }
}

test('following survives resizes, and types that come to the toolbar on a narrow screen', async () => {
  const { page, context } = await open(browser, server.normal, { viewport: { width: 390, height: 844 } });
  const follows = () => page.locator('#jump').evaluate(node => node.hidden);
  const atEnd = () => until(page, () => { const s = document.getElementById('scroll'); return s.scrollHeight - s.clientHeight - s.scrollTop < 8; });
  await until(page, () => { const s = document.getElementById('scroll'); return s.scrollHeight > 2 * s.clientHeight; });
  for (const size of [{ width: 390, height: 500 }, { width: 844, height: 390 }, { width: 390, height: 844 }, { width: 320, height: 600 }, { width: 390, height: 844 }]) {
    await page.setViewportSize(size);
    await atLeast(page, await count(page) + 5);
    assert.ok(await follows(), `at ${size.width}×${size.height}`);
    await atEnd();
  }
  // The list grows after a resize, before the browser's scroll event for it: that looks as if the reader had gone up.
  const grown = await page.evaluate(async () => {
    const frame = () => new Promise(requestAnimationFrame);
    let armed = false;
    new ResizeObserver(() => { // it comes after the page's own
      if (armed) document.getElementById('list').style.paddingBottom = '60px';
    }).observe(document.getElementById('scroll'));
    await frame();
    await frame(); // an observer is called once for the size that it finds
    armed = true;
    document.querySelector('.tools').style.paddingBottom = '80px';
    for (let i = 0; i < 5; i++) await frame();
    return document.getElementById('list').style.paddingBottom;
  });
  assert.equal(grown, '60px');
  assert.ok(await follows());
  await atEnd();
  await page.locator('#scroll').hover();
  await page.mouse.wheel(0, -400);
  await until(page, () => !document.getElementById('jump').hidden); // a reader who goes up does stop it
  await context.close();
});

test('each type has a colour of its own', async () => {
  const body = Array.from({ length: 22 }, (_, n) => `event: sensors/room-${n}\ndata: ${n}\n\n`).join('') + 'event: sse-gap\ndata: {}\n\n';
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, events(`retry: 60000\n${body}`)) });
  await atLeast(page, 23);
  const colours = await page.locator('.chip .mark').evaluateAll(nodes => nodes.slice(-23).map(node => getComputedStyle(node).backgroundColor));
  assert.equal(new Set(colours).size, 23, colours.join(' '));
  const rows = await page.locator('li .type').evaluateAll(nodes => nodes.map(node => [node.textContent, getComputedStyle(node.querySelector('.mark')).backgroundColor]));
  assert.equal(new Set(rows.filter(([type]) => type.startsWith('sensors')).map(([, colour]) => colour)).size, 22);
  await context.close();
});

test('after an event that says that it was the last, the stream has ended, and is not asked for again', async () => {
  let asked = 0;
  const reply = route => (asked++, events('retry: 300\ndata: 1\n\nid: sse-end\nevent: done\ndata: done\n\n')(route));
  const { page, context } = await open(browser, server.normal, { before: answer(server.normal, reply) });
  await standing(page, 'Ended');
  assert.match(await page.locator('#stateWhy').textContent(), /no more to send/);
  await pause(1500);
  assert.equal(asked, 1);
  await context.close();
});

test('a paused page says so', async () => {
  const { page, context } = await open(browser, server.normal);
  await standing(page, 'Live');
  await page.getByRole('button', { name: 'Pause' }).click();
  assert.equal(await page.locator('#stateName').textContent(), 'Paused');
  await page.getByRole('button', { name: 'Resume' }).click();
  assert.equal(await page.locator('#stateName').textContent(), 'Live');
  await context.close();
});
