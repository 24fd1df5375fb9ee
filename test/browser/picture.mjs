// Takes the picture of the front page: node picture.mjs <url of a stream that ends> <file>.
import { launch, open } from './browser.mjs';
const [url, file] = process.argv.slice(2);
const browser = await launch();
const { page, faults } = await open(browser, url, { viewport: { width: 1180, height: 430 }, colorScheme: 'light' });
await page.waitForFunction(() => [...document.querySelectorAll('li .type')].some(type => type.textContent === 'done'));
await page.screenshot({ path: file });
console.log(JSON.stringify(await faults()));
await browser.close();
