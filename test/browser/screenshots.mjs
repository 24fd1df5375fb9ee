// Takes pictures of the viewer in its main states: node screenshots.mjs <folder>
import { launch, open, target } from './browser.mjs';
const folder = process.argv[2] ?? 'screenshots';
const browser = await launch();
const server = await target();
const shot = async (name, url, options, act) => {
  const { page, context, faults } = await open(browser, url, options);
  await page.waitForFunction(() => document.querySelectorAll('li').length > 3);
  await act?.(page);
  await page.screenshot({ path: `${folder}/${name}.png` });
  console.log(name, await faults());
  await context.close();
};
const wait = ms => new Promise(done => setTimeout(done, ms));
await shot('light', server.normal, { colorScheme: 'light' }, async page => {
  await wait(6000);
  const row = page.locator('li .head').nth(-6);
  await row.click();
});
await shot('dark', server.normal, { colorScheme: 'dark' }, async page => {
  await wait(4000);
  await page.locator('li .head').nth(-5).click();
});
await shot('narrow', server.normal, { viewport: { width: 320, height: 640 } }, async page => { await wait(2500); });
await shot('narrow-dark-open', server.normal, { colorScheme: 'dark', viewport: { width: 390, height: 800 } }, async page => { await wait(2500); await page.locator('li .head').nth(-3).click(); });
await shot('fast', server.fast, {}, async page => { await wait(6000); });
await shot('hostile', server.hostile, {}, async page => { await wait(500); await page.locator('li .head').nth(4).click(); });
if (server.listen) {
  await shot('control', server.normal, { before: page => page.route(server.normal, (route, request) => request.headers().accept === 'text/event-stream'
    ? route.fulfill({ status: 200, contentType: 'text/event-stream', body: 'retry: 8000\n\nid: 1\nevent: tick\ndata: {"n":1}\n\nid: 2\nevent: tick\ndata: {"n":2}\n\nevent: sse-gap\ndata: {"reason":"history","last_event_id":"2","oldest_id":"9"}\n\nid: 9\nevent: tick\ndata: {"n":9}\n\ndata: plain text,\ndata: two lines\n\nevent: sse-error\ndata: {"reason":"upstream_error"}\n\n' }) : route.continue()) },
  async page => { await wait(600); });
  await shot('disconnected', server.normal, {}, async page => {
    await wait(3000);
    await server.stop();
    await page.waitForFunction(() => document.getElementById('stateName').textContent.startsWith('Reconnecting'));
    await wait(2600);
  });
}
await browser.close();
process.exit();
