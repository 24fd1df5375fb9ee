// The page of a language model's answer, as its clients would write it.
//
//   node resume.mjs <client> <begin | ask | resume> <URL>
//
// begin asks by POST, prints the first pieces of the answer, each on a line, and leaves, as a page that is closed does. ask prints
// all pieces. resume takes the answer up again by GET, and prints all of it.
import OpenAI from 'openai';
import { AbstractChat, DefaultChatTransport } from 'ai';

const [client, action, url] = process.argv.slice(2);
const say = piece => new Promise(done => process.stdout.write(`${piece}\n`, done));
const leaveAfter = action === 'begin' ? 3 : Infinity;

async function begin(pieces) {
  let said = 0;
  for await (const piece of pieces) {
    await say(piece);
    if (++said === leaveAfter) process.exit(0);
  }
}

class State {
  messages = [];
  status = 'ready';
  error = undefined;
  pushMessage = message => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, message); };
  snapshot = value => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options) { super({ ...options, state: new State() }); }
}

const chat = () => new Chat({
  id: '1',
  onError: error => { throw error; },
  transport: new DefaultChatTransport({ prepareSendMessagesRequest: ({ messages }) => ({ api: url, body: { messages } }), prepareReconnectToStreamRequest: () => ({ api: url }) }),
});
const textOf = ({ messages }) => messages.filter(({ role }) => role === 'assistant').flatMap(({ parts }) => parts.filter(({ type }) => type === 'text').map(({ text }) => text)).join('');

const clients = {
  openai: {
    async begin() {
      const openai = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0 });
      const answer = await openai.chat.completions.create({ model: 'm', stream: true, messages: [{ role: 'user', content: 'question' }] });
      await begin((async function* () { for await (const chunk of answer) yield chunk.choices[0].delta.content; })());
    },
  },
  ai: {
    async begin() {
      const page = chat();
      void page.sendMessage({ text: 'question' });
      await begin((async function* () {
        for (let before = ''; ;) {
          const now = textOf(page);
          for (const word of now.slice(before.length).split(' ')) if (word) yield word;
          before = now;
          await new Promise(done => setTimeout(done, 10));
        }
      })());
    },
    async resume() {
      const page = chat();
      await page.resumeStream();
      await say(textOf(page).trim().split(' ').join('\n'));
    },
  },
  fetch: {
    async resume() {
      const response = await fetch(url);
      await say(`${response.status}`);
      for (const line of (await response.text()).split('\n')) if (line.startsWith('data: ')) await say(line.slice('data: '.length));
    },
  },
};
await clients[client][action === 'ask' ? 'begin' : action]();
