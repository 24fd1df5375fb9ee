// Clients that run in a browser, each in a page of its own.
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { readStream } from './streams.mjs';

let chromiumBrowser, firefoxBrowser;

const startChromium = () => chromiumBrowser ??= chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
});

const startFirefox = () => firefoxBrowser ??= puppeteer.launch({
  browser: 'firefox',
  executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
  protocolTimeout: 10 * 60_000, // a script that reads a stream takes as long as that
  acceptInsecureCerts: true,
});

export async function closeBrowsers() {
  await Promise.all([chromiumBrowser, firefoxBrowser].map(async browser => (await browser)?.close()));
}

// A browser has few connections to a server for all pages of a context, and a page takes long to open. So clients share
// pages, as many as there are connections.
const perPage = 5;
const loading = 120_000; // milliseconds for a page, when all begin at once

const pages = open => {
  const all = new Map(); // by the server's URL
  return async base => {
    if (!all.has(base)) all.set(base, []);
    const places = all.get(base);
    let place = places.find(({ clients }) => clients < perPage);
    if (!place) places.push(place = { clients: 0, context: open() });
    place.clients++;
    place.page ??= place.context.then(async context => {
      const page = await context.newPage();
      page.setDefaultTimeout(loading);
      await page.goto(base + '/page', { timeout: loading });
      return page;
    });
    return { page: await place.page, context: await place.context, leave() { place.clients--; } };
  };
};

const chromiumPage = pages(async () => (await startChromium()).newContext());
const firefoxPage = pages(async () => (await startFirefox()).createBrowserContext());

// inPage runs a function in a page of the server's origin that it shares with others.
const inPage = (page, run) => async (job, report) => {
  const place = await page(job.base);
  try {
    Object.assign(report, await place.page.evaluate(run, { ...job, url: job.path }));
  } finally {
    place.leave();
  }
};

// inOwnPage runs a function in a page with these scripts.
const inOwnPage = (run, scripts) => async (job, report) => {
  const place = await chromiumPage(job.base);
  const page = await place.context.newPage();
  page.setDefaultTimeout(loading);
  try {
    await page.goto(job.base + '/page');
    for (const script of scripts) await page.addScriptTag({ url: '/modules/' + script });
    Object.assign(report, await page.evaluate(run, { ...job, url: job.path }));
  } finally {
    await page.close();
    place.leave();
  }
};

// What follows runs in a page.

function readByFetch({ url, events, ends, patience, post }) {
  const report = { shown: [], error: '', staysAway: false };
  return new Promise(async resolve => {
    const { fetchEventSource } = await import('/modules/@microsoft/fetch-event-source/lib/esm/index.js');
    const controller = new AbortController();
    let timer;
    const wait = (milliseconds, error) => {
      clearTimeout(timer);
      timer = setTimeout(() => { report.error = error; controller.abort(); }, milliseconds);
    };
    wait(patience, 'nothing came');
    fetchEventSource(url, {
      signal: controller.signal,
      openWhenHidden: true,
      ...post && { method: 'POST', body: '{}', onerror(error) { throw error; } }, // it would ask again, and a POST is not to be repeated
      onmessage({ event, data }) {
        if (event && event !== 'message') return;
        report.shown.push(data && JSON.parse(data).p);
        if (post || report.shown.length < events || ends) wait(patience, report.shown.length < events ? 'nothing came' : '');
        else wait(300, '');
      },
    }).then(() => { report.staysAway = !controller.signal.aborted; }, error => { report.error = String(error); })
      .finally(() => { clearTimeout(timer); resolve(report); });
  });
}

function readBySSEjs({ url, events, ends, patience, post }) {
  const report = { shown: [], error: '', staysAway: false };
  return new Promise(async resolve => {
    const { SSE } = await import('/modules/sse.js/lib/sse.js');
    const source = new SSE(url, post ? { payload: '{}', start: false } : { autoReconnect: true, start: false });
    let timer;
    const end = () => { clearTimeout(timer); source.close(); resolve(report); };
    const wait = (milliseconds, error) => {
      clearTimeout(timer);
      timer = setTimeout(() => { report.error = error; end(); }, milliseconds);
    };
    wait(patience, 'nothing came');
    source.addEventListener('message', ({ data }) => {
      report.shown.push(data && JSON.parse(data).p);
      if (post || report.shown.length < events || ends) wait(patience, report.shown.length < events ? 'nothing came' : '');
      else wait(300, '');
    });
    if (post) {
      source.addEventListener('error', event => { report.error = event.errorMessage || `error ${event.responseCode ?? ''}`; end(); });
      source.addEventListener('readystatechange', ({ readyState }) => { if (readyState === SSE.CLOSED) setTimeout(end, 100); }); // after its last events
    }
    source.stream();
  });
}

// readFromPage waits for the elements that a library puts into the page.
function readFromPage({ url, events, ends, patience, client }) {
  return new Promise(resolve => {
    const shown = document.getElementById('shown');
    let source;
    const Native = window.EventSource;
    window.EventSource = class extends Native {
      constructor(...args) { super(...args); source = this; }
    };
    if (client === 'turbo') {
      const element = document.createElement('turbo-stream-source');
      element.setAttribute('src', url);
      Object.defineProperty(document, 'visibilityState', { value: 'hidden' }); // Turbo waits for a repaint before each event otherwise
      document.body.append(element);
    } else {
      shown.setAttribute('hx-ext', 'sse');
      shown.setAttribute('sse-connect', url);
      shown.setAttribute('sse-swap', 'message');
      if (ends) shown.setAttribute('sse-close', 'done'); // it opens what was closed anew otherwise, from the beginning
      htmx.process(document.body);
    }
    const seen = [], begin = performance.now();
    let since = begin, closed = 0;
    new MutationObserver(changes => {
      for (const { addedNodes } of changes) for (const node of addedNodes) if (node.localName === 'i') seen.push(node.textContent);
      since = performance.now();
    }).observe(shown, { childList: true });
    const timer = setInterval(() => {
      const now = performance.now(), quiet = now - since;
      closed = source?.readyState === 2 ? closed + 1 : 0;
      const staysAway = closed > 20; // htmx opens it anew after half a second
      const finished = ends ? staysAway : seen.length >= events && quiet > 300;
      if (!finished && quiet < patience && now - begin < 2 * patience) return;
      clearInterval(timer);
      source?.close();
      resolve({ shown: seen, staysAway, error: finished || seen.length >= events ? '' : 'nothing came' });
    }, 100);
  });
}

const post = client => (job, report) => client({ ...job, post: true }, report);
const fetchClient = inPage(chromiumPage, readByFetch);
const sseClient = inPage(chromiumPage, readBySSEjs);

export const pageClients = {
  chromium: inPage(chromiumPage, readStream),
  firefox: inPage(firefoxPage, readStream),
  'fetch-event-source': fetchClient,
  'fetch-event-source-post': post(fetchClient),
  'sse.js': sseClient,
  'sse.js-post': post(sseClient),
  htmx: inOwnPage(readFromPage, ['htmx.org/dist/htmx.js', 'htmx-ext-sse/sse.js']),
  turbo: inOwnPage(readFromPage, ['@hotwired/turbo/dist/turbo.es2017-umd.js']),
};

// readEvents reports all that an EventSource dispatches until it is closed for good.
function readEvents({ url, types, patience }) {
  return new Promise(resolve => {
    const events = [];
    const source = new EventSource(url);
    const end = error => { source.close(); clearTimeout(timer); resolve({ events, error }); };
    const timer = setTimeout(() => end('it is not closed'), patience);
    for (const type of types) {
      source.addEventListener(type, event => { events.push({ type, data: event.data, id: event.lastEventId }); });
    }
    source.addEventListener('error', () => { if (source.readyState === 2) end(''); });
  });
}

export const vectors = inPage(chromiumPage, readEvents);
