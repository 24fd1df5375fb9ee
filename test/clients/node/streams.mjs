// EventSources of Node, and what those of browsers share with them.
import { EventSource } from 'eventsource';
import { EventSource as UndiciEventSource } from 'undici';

// readStream reads a stream until it has shown so many events, or until its client has closed for good. It runs in
// pages too, so it uses nothing from around itself.
export function readStream({ url, events, ends, patience }, EventSource = globalThis.EventSource) {
  return new Promise(resolve => {
    const report = { shown: [], error: '', staysAway: false };
    const source = new EventSource(url);
    let timer;
    const end = () => { source.close(); clearTimeout(timer); resolve(report); };
    const wait = (milliseconds, error) => {
      clearTimeout(timer);
      timer = setTimeout(() => { report.error = error; end(); }, milliseconds);
    };
    wait(patience, 'nothing came');
    source.onmessage = ({ data }) => {
      let payload = data;
      try { payload = JSON.parse(data).p; } catch { /* it is shown as it is */ }
      report.shown.push(payload);
      if (report.shown.length >= events && !ends) wait(300, ''); // there should be no more
      else wait(patience, report.shown.length < events ? 'nothing came' : '');
    };
    source.onerror = () => {
      if (source.readyState !== 2) return;
      report.staysAway = true;
      if (report.shown.length < events) report.error = 'closed';
      end();
    };
  });
}

const inNode = EventSource => async (job, report) => {
  Object.assign(report, await readStream({ ...job, url: job.base + job.path }, EventSource));
};

export const streamClients = {
  eventsource: inNode(EventSource),
  undici: inNode(UndiciEventSource),
};
