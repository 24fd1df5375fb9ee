// A small event-stream server to develop and test the viewer against. It serves the viewer as the real server does,
// with the same Content-Security-Policy, and its streams are deterministic: event n is due at a fixed time, so that a
// client that comes back with Last-Event-ID gets exactly what it missed, even from a restarted server.
//
//   node server.mjs [port]      prints the URLs as JSON on one line
import http from 'node:http';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const viewerFile = new URL('../../internal/engine/viewer/viewer.html', import.meta.url);
const hostile = JSON.parse(readFileSync(new URL('hostile.json', import.meta.url), 'utf8'));

function viewer() {
  const html = readFileSync(viewerFile, 'utf8');
  const hash = tag => {
    const found = [...html.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, 'g'))];
    if (found.length !== 1) throw new Error(`viewer.html has ${found.length} <${tag}> elements, not one`);
    return `'sha256-${createHash('sha256').update(found[0][1]).digest('base64')}'`;
  };
  return {
    html,
    csp: `default-src 'none'; script-src ${hash('script')}; style-src ${hash('style')}; connect-src 'self'; ` +
      `img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}

const frame = ({ id, type, data }) =>
  (id === undefined ? '' : `id: ${id}\n`) + (type ? `event: ${type}\n` : '') +
  data.split(/\r\n|\r|\n/).map(line => `data: ${line}\n`).join('') + '\n';

const symbols = ['ACME', 'GLOB', 'INIT', 'HOOL'];
const tick = n => ({
  id: `a7-${n}`,
  type: n % 5 === 0 ? 'order' : n % 7 === 0 ? '' : 'tick',
  data: n % 7 === 0 && n % 5 ? JSON.stringify({ n, text: 'heartbeat of the market, nothing else to say' }) : JSON.stringify({
    n, symbol: symbols[n % 4], price: 100 + (n * 7919 % 1000) / 100, up: n % 3 === 0, venue: null,
    book: { bids: [[99.5, 10], [99.25, 40]], asks: [[100.75, 5]] }, tags: ['demo', `batch-${n >> 4}`],
  }),
});

// stream sends event n at start + n * every milliseconds; from is the first one to send.
function stream(res, from, every, start, event) {
  let n = from;
  const timer = setInterval(() => {
    const due = Math.floor((Date.now() - start) / every);
    let out = '';
    for (; n <= due; n++) out += frame(event(n));
    if (out) res.write(out);
  }, Math.max(every, 4));
  res.on('close', () => clearInterval(timer));
}

// raw sends a body as it is, step bytes at a time, so that a reader meets every boundary between two reads.
async function raw(res, body, step) {
  res.socket.setNoDelay(true);
  for (let at = 0; at < body.length; at += step) {
    res.write(body.subarray(at, at + step));
    await new Promise(done => setTimeout(done, 3));
  }
  res.end();
}

export function serve(port = 0, start = Date.now() - 60_000) {
  const handler = (req, res) => {
    const { pathname, searchParams } = new URL(req.url, 'http://localhost');
    if (pathname === '/favicon.ico') return res.writeHead(404).end();
    const headers = { 'Cache-Control': 'no-cache', Vary: 'Accept' };
    if (/text\/html/.test(req.headers.accept ?? '')) {
      const { html, csp } = viewer();
      return res.writeHead(200, { ...headers, 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': csp }).end(html);
    }
    res.writeHead(200, { ...headers, 'Content-Type': 'text/event-stream' });
    if (pathname !== '/raw') res.write(': welcome\nretry: 1000\n\n');
    const last = req.headers['last-event-id'] ?? searchParams.get('lastEventId');
    const resume = last ? Number(last.split('-')[1]) + 1 : 0;
    const now = every => Math.floor((Date.now() - start) / every);
    switch (pathname) {
      case '/normal': return stream(res, resume || now(100), 100, start, tick);
      case '/fast': return stream(res, resume || now(1), 1, start, tick);
      case '/hostile':
        hostile.forEach((data, n) => res.write(frame({ id: `h-${n}`, data })));
        res.write(frame({ type: '<b onclick=pwned=1>\u202etype', id: '<i>id</i>', data: 'a type and an id that look like HTML' }));
        res.write(frame({ data: `${'x'.repeat(1 << 20)}<img src=x onerror="window.pwned='long'">` }));
        res.write(frame({ data: '['.repeat(50_000) + ']'.repeat(50_000) }));
        res.write('data: a stream that does not end');
        return;
      case '/finite':
        for (let n = 1; n <= 5; n++) res.write(frame(tick(n)));
        return res.end();
      case '/raw': return raw(res, Buffer.from(searchParams.get('body'), 'base64url'), Number(searchParams.get('step')));
      case '/echo': // Last-Event-ID as it came over the wire
        res.write(last ? frame({ data: `you sent ${Buffer.from(last, 'latin1')}` }) : 'retry: 300\nid: é€-7\n\n');
        return last || res.end();
      default: return; // a stream without events
    }
  };
  let server;
  const listen = () => new Promise(resolve => (server = http.createServer(handler)).listen(port, '127.0.0.1', () => resolve(port = server.address().port)));
  const stop = () => new Promise(resolve => { server.close(resolve); server.closeAllConnections(); });
  return { listen, stop };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const server = serve(Number(process.argv[2] ?? 0));
  const base = `http://127.0.0.1:${await server.listen()}`;
  console.log(JSON.stringify(Object.fromEntries(['normal', 'fast', 'hostile', 'finite'].map(name => [name, `${base}/${name}`]))));
}
