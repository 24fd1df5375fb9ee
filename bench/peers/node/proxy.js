// A hand-written Node proxy: each client gets an upstream request of its own,
// whose NDJSON lines it receives as Server-Sent Events.
// Usage: node proxy.js <listen port> <upstream port>
const http = require('node:http');

const [port, upstreamPort] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: false });

http.createServer((request, response) => {
  const upstream = http.get({ host: '127.0.0.1', port: upstreamPort, path: '/', agent }, (source) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    response.flushHeaders();
    source.setEncoding('utf8');
    let rest = '';
    source.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      let out = '';
      for (const line of lines) out += `data: ${line}\n\n`;
      if (out && !response.write(out)) source.pause();
    });
    response.on('drain', () => source.resume());
    source.on('end', () => response.end());
    source.on('error', () => response.destroy());
  });
  upstream.on('error', () => response.destroy());
  response.on('close', () => upstream.destroy());
}).listen(port, '127.0.0.1');

process.on('SIGTERM', () => process.exit(0));
