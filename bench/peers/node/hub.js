// A hand-written Node hub: one TCP feed of NDJSON for all clients.
// Usage: node hub.js <listen port> <feed port>
const http = require('node:http');
const net = require('node:net');

const [port, feedPort] = process.argv.slice(2).map(Number);
const clients = new Set();

function publish(bytes) {
  for (const client of clients) client.write(bytes);
}

let rest = '';
net.connect(feedPort, '127.0.0.1').setEncoding('utf8').on('data', (text) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop();
  if (lines.length) publish(Buffer.from(lines.map((line) => `data: ${line}\n\n`).join('')));
});
setInterval(() => publish(Buffer.from(':\n\n')), 5000);

http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  response.flushHeaders();
  clients.add(response);
  response.on('close', () => clients.delete(response));
}).listen({ port, host: '127.0.0.1', backlog: 4096 });

process.on('SIGTERM', () => process.exit(0));
