// Opens the browser's own EventSource on a URL and collects everything until it closes.
//
//   node eventsource.mjs <url> [--types a,b,...] [--events <n>] [--reconnects <n>] [--seconds <n>]
//
// prints {"opens", "errors", "closed", "events": [{"type", "id", "data", "ms"}]} as JSON. It ends when the EventSource
// is closed for good (a 204, another status), after n events, at its nth reconnect, or after n seconds (default 30).
// EventSource delivers only those types that are listened for: message, and what --types names.
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { launch } from './browser.mjs';

export async function collect(browser, url, { types = [], events = Infinity, reconnects = Infinity, seconds = 30 } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  // A page of the stream's own origin that the server does not have to serve.
  const blank = new URL('/blank-page-of-this-test', url).href;
  await page.route(blank, route => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>EventSource</title>' }));
  await page.goto(blank);
  const result = await page.evaluate(({ url, types, events, reconnects, seconds }) => new Promise(resolve => {
    const source = new EventSource(url), began = performance.now();
    const seen = { opens: 0, errors: 0, closed: false, events: [] };
    const end = () => { source.close(); resolve(seen); };
    const take = event => {
      seen.events.push({ type: event.type, id: event.lastEventId, data: event.data, ms: Math.round(performance.now() - began) });
      if (seen.events.length === events) end();
    };
    for (const type of ['message', ...types]) source.addEventListener(type, take);
    source.onopen = () => { seen.opens++; };
    source.onerror = () => {
      seen.errors++;
      seen.closed = source.readyState === EventSource.CLOSED;
      if (seen.closed || seen.errors > reconnects) end();
    };
    setTimeout(end, seconds * 1000);
  }), { url, types, events: events === Infinity ? -1 : events, reconnects: reconnects === Infinity ? Number.MAX_SAFE_INTEGER : reconnects, seconds });
  await context.close();
  return result;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const number = { type: 'string' };
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { types: { type: 'string' }, events: number, reconnects: number, seconds: number } });
  if (positionals.length !== 1) {
    console.error('usage: node eventsource.mjs <url> [--types a,b] [--events n] [--reconnects n] [--seconds n]');
    process.exit(2);
  }
  const browser = await launch();
  const options = Object.fromEntries(['events', 'reconnects', 'seconds'].filter(name => values[name]).map(name => [name, Number(values[name])]));
  console.log(JSON.stringify(await collect(browser, positionals[0], { types: values.types?.split(','), ...options })));
  await browser.close();
}
