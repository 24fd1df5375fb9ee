// Runs clients of Node and of browsers. A line of standard input is a job as JSON, a line of standard output its report.
import { createInterface } from 'node:readline';
import { closeBrowsers, pageClients, vectors } from './browsers.mjs';
import { modelClients } from './models.mjs';
import { streamClients } from './streams.mjs';

const clients = { ...modelClients, ...streamClients, ...pageClients, vectors };

async function run(job) {
  const report = { id: job.id, shown: [], error: '', staysAway: false };
  try {
    await clients[job.client](job, report);
  } catch (error) {
    report.error ||= String(error?.message ?? error) || 'an error without a message';
  }
  process.stdout.write(JSON.stringify(report) + '\n');
}

// Clients may throw where nobody can catch it. The job then ends by its own patience.
process.on('uncaughtException', error => console.error('uncaught:', error));
process.on('unhandledRejection', error => console.error('unhandled:', error));

const running = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  const job = run(JSON.parse(line)).finally(() => running.delete(job));
  running.add(job);
}
await Promise.all(running);
await closeBrowsers();
process.exit(0);
