// The page of examples/ollama, with a model that speaks when the test says so.
//
//   OLLAMA_URL    the site
//   OLLAMA_PORT   where its Caddy looks for Ollama
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { launch } from './browser.mjs';

const { OLLAMA_URL: url, OLLAMA_PORT: port } = process.env;
const answers = []; // what the model has been asked: { question, say, closed }
const model = http.createServer(async (req, res) => {
  let body = '';
  for await (const chunk of req) body += chunk;
  res.writeHead(200, { 'Content-Type': 'application/x-ndjson' }).flushHeaders();
  const answer = { question: JSON.parse(body).messages[0].content, say: record => res.write(`${JSON.stringify(record)}\n`), closed: false };
  res.on('close', () => { answer.closed = true; });
  answers.push(answer);
});
const token = content => ({ message: { role: 'assistant', content }, done: false });

let browser, page;
const faults = [];
before(async () => {
  await new Promise(done => model.listen(port, '127.0.0.1', done));
  browser = await launch();
  page = await browser.newPage();
  page.on('pageerror', error => faults.push(error.message));
  page.on('console', message => { if (/Content.Security.Policy/i.test(message.text())) faults.push(message.text()); });
  await page.goto(url);
});
after(async () => { await browser.close(); model.closeAllConnections(); model.close(); });

const shows = text => page.waitForFunction(text => document.getElementById('answer').textContent === text, text, { timeout: 30_000 });
const state = text => page.waitForFunction(text => document.getElementById('state').textContent.startsWith(text), text, { timeout: 30_000 });
const until = async condition => { while (!condition()) await new Promise(done => setTimeout(done, 20)); };

async function ask(question) {
  const before = answers.length;
  await page.getByLabel('Question').fill(question);
  await page.getByRole('button', { name: 'Ask' }).click();
  await until(() => answers.length > before);
  assert.equal(answers[before].question, question);
  return answers[before];
}

test('an answer goes on after a reload, and the model is asked once', async () => {
  const answer = await ask('Why is the sky blue?');
  answer.say(token('<b>The</b>\n'));
  await shows('<b>The</b>\n');
  await page.reload();
  await shows('<b>The</b>\n');
  answer.say(token(' sky'));
  await shows('<b>The</b>\n sky');
  answer.say({ message: { content: '' }, done: true });
  await state('Done');
  await page.reload();
  await shows('<b>The</b>\n sky');
  await state('Done');
  assert.equal(answers.length, 1);
});

test('Stop stops the model', async () => {
  const answer = await ask('Count to a million');
  answer.say(token('1, 2'));
  await shows('1, 2');
  await page.getByRole('button', { name: 'Stop' }).click();
  await until(() => answer.closed);
  await state('Done');
  await shows('1, 2');
});

test('a model that fails says so', async () => {
  const answer = await ask('Fail');
  answer.say(token('So'));
  answer.say({ error: 'out of memory' });
  await state('The model failed: out of memory');
  await shows('So');
  assert.deepEqual(faults, []);
});
