// The address of the answer that the page shows is in the page's own address, so that a reload, or another device that
// opens the same address, goes on with it.
const $ = id => document.getElementById(id);
const state = text => { $('state').textContent = text; };
const path = () => location.hash && `/answers/${location.hash.slice(1)}`;
let source;

function read() {
  source?.close();
  $('answer').textContent = '';
  if (!path()) return;
  $('stop').disabled = false;
  state('Waiting for the model …');
  source = new EventSource(path()); // it resumes by itself after the last event that it has
  source.onmessage = event => { state('Answering …'); $('answer').textContent += event.data; };
  source.addEventListener('done', () => over('Done.'));
  source.addEventListener('sse-error', event => {
    const { error, reason } = JSON.parse(event.data);
    over(`The model failed: ${error ?? reason}`);
  });
  source.addEventListener('sse-gap', () => { $('answer').textContent += ' […] '; });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) over('There is no such answer any more.');
    else state('The connection is lost. Trying again …');
  };
}

function over(text) {
  source.close();
  $('stop').disabled = true;
  state(text);
}

document.forms[0].addEventListener('submit', async event => {
  event.preventDefault();
  location.hash = crypto.randomUUID();
  try {
    const response = await fetch(path(), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ model: $('model').value, messages: [{ role: 'user', content: $('question').value }] }),
    });
    if (!response.ok) throw new Error(`${response.status} ${(await response.text()).slice(0, 200)}`);
    await response.body.cancel(); // the answer goes on without it, and is read below
    read();
  } catch (error) {
    state(`The model could not be asked: ${error.message}`);
  }
});
$('stop').addEventListener('click', () => fetch(path(), { method: 'DELETE' }));
read();
