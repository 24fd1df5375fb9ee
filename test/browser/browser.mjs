// What the browser tests share: a Chromium, and the server under test.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { serve } from './server.mjs';

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// target is the server under test, named by the environment, or else the small server of this folder.
//
//   SSE_URL           a stream of at least 5 events/s, of the types tick, order and message, each with an id and with
//                     JSON data whose "n" grows by one; it resumes by Last-Event-ID
//   SSE_FAST_URL      the same at 1,000 events/s
//   SSE_HOSTILE_URL   one event for each string of hostile.json, in this order; then it stays open
//   SSE_RESTART       a shell command that restarts the server and returns when it answers again;
//                     the stream goes on where it was
export async function target() {
  const { SSE_URL, SSE_FAST_URL, SSE_HOSTILE_URL, SSE_RESTART } = process.env;
  if (SSE_URL) {
    const missing = Object.entries({ SSE_FAST_URL, SSE_HOSTILE_URL, SSE_RESTART }).filter(([, value]) => !value).map(([name]) => name);
    if (missing.length) throw new Error(`SSE_URL is set: set ${missing.join(', ')} too`);
    return {
      normal: SSE_URL, fast: SSE_FAST_URL, hostile: SSE_HOSTILE_URL,
      restart: () => promisify(execFile)('/bin/sh', ['-c', SSE_RESTART]),
      stop: async () => {},
    };
  }
  const server = serve();
  const base = `http://127.0.0.1:${await server.listen()}`;
  return {
    normal: `${base}/normal`, fast: `${base}/fast`, hostile: `${base}/hostile`, finite: `${base}/finite`,
    restart: async () => { await server.stop(); await new Promise(done => setTimeout(done, 1500)); await server.listen(); },
    stop: server.stop, listen: server.listen,
  };
}

// open shows a stream's page in a context of its own and collects what no page may do: script errors, violations of
// its policy, dialogs, and requests to anything but the stream.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', error => faults.push(`error: ${error.message}`));
  page.on('console', message => { if (/Content.Security.Policy/i.test(message.text())) faults.push(message.text()); });
  page.on('dialog', dialog => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', request => { if (!/^(data|blob):/.test(request.url()) && request.url() !== url) faults.push(`request: ${request.url()}`); });
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener('securitypolicyviolation', event => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  if (options.before) await options.before(page);
  await page.goto(url);
  return { page, context, faults: async () => [...faults, ...await page.evaluate(() => window.violations)] };
}

// download presses the viewer's button and returns the events of the file.
export async function download(page) {
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
  const chunks = [];
  for await (const chunk of await file.createReadStream()) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return { name: file.suggestedFilename(), text, events: text.split('\n').filter(Boolean).map(line => JSON.parse(line)) };
}
