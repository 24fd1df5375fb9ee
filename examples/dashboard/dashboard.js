// Two event streams, a chart and a table. follow() is all that a page needs to know of streams; the rest draws.

const $ = id => document.getElementById(id);

// follow keeps a stream open. It goes on after the last event that it has, says how the stream stands, and notices a
// connection that is dead but not closed: the server sends an event "alive" after each 5 silent seconds.
function follow(path, handlers, say) {
  let source, silence, failures = 0, lastEventId = '';
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { say('lost', 'Nothing heard. Connecting again'); open(); }, 15_000);
  };
  // Not when the stream opens: where the server's own source is away, it opens too, and says so.
  const live = () => { failures = 0; say('live', 'Live'); heard(); };

  function open() {
    source?.close();
    // A new EventSource knows nothing of the former one's last event.
    source = new EventSource(lastEventId ? `${path}?lastEventId=${encodeURIComponent(lastEventId)}` : path);
    heard();
    for (const [type, handle] of Object.entries({ ready() {}, alive() {}, ...handlers })) {
      source.addEventListener(type, event => {
        if (event.lastEventId) lastEventId = event.lastEventId;
        live();
        handle(event.data);
      });
    }
    // The upstream has failed. The server ends the stream after this, and EventSource comes back by itself.
    source.addEventListener('sse-error', event => say('lost', `The server has a problem (${JSON.parse(event.data).reason})`));
    source.onerror = () => {
      if (source.readyState === EventSource.CONNECTING) return say('lost', 'Connection lost. Connecting again');
      // It gives up at any status but 200, as when the server starts or a login has ended.
      const wait = Math.min(30, 2 ** failures++) * (0.5 + Math.random() / 2);
      say('lost', `The server refuses. Trying again in ${Math.ceil(wait)} s`);
      clearTimeout(silence);
      setTimeout(open, wait * 1000);
    };
  }
  open();
}

const sayIn = element => (state, text) => {
  if (element.textContent === text) return; // a status is read aloud each time it changes
  element.dataset.state = state;
  element.textContent = text;
};

// Drawing, once for all that has come since the last frame.

let paused = false, asked = false;
function draw() {
  if (paused || asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawChart(); drawRows(); });
}
$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', paused);
  draw(); // nothing is lost meanwhile
});

// The chart.

const seconds = 120;
let points = [], described = 0, broken = false;

follow('/load', {
  load(data) {
    const point = JSON.parse(data);
    point.at = Date.parse(point.time) / 1000;
    point.first = broken;
    broken = false;
    points.push(point);
    points = points.filter(({ at }) => at > point.at - seconds - 5);
    draw();
  },
  'sse-gap'() { broken = true; },
}, sayIn($('load-state')));

// area is the path between two heights, with a hole where events are missing.
function area(low, high) {
  const end = points.at(-1).at, path = [];
  let run = [];
  const close = () => {
    if (run.length > 1) {
      const x = ({ at }) => ((1 - (end - at) / seconds) * 600).toFixed(1), y = value => (150 - 1.5 * value).toFixed(1);
      path.push('M', run.map(p => `${x(p)} ${y(high(p))}`).join('L'), 'L', run.toReversed().map(p => `${x(p)} ${y(low(p))}`).join('L'), 'Z');
    }
    run = [];
  };
  for (const point of points) {
    if (point.first || point.at - run.at(-1)?.at > 10) close();
    run.push(point);
  }
  close();
  return path.join('');
}

function drawChart() {
  const now = points.at(-1);
  if (!now) return;
  $('user').textContent = `${now.user} %`;
  $('system').textContent = `${now.system} %`;
  $('running').textContent = now.running;
  $('user-area').setAttribute('d', area(() => 0, p => p.user));
  $('system-area').setAttribute('d', area(p => p.user, p => p.user + p.system));
  if (now.at - described >= 10) {
    described = now.at;
    const busy = points.map(p => p.user + p.system), mean = Math.round(busy.reduce((a, b) => a + b) / busy.length);
    $('chart').setAttribute('aria-label', `Load of the processors in the last two minutes: now ${busy.at(-1)} %, on average ${mean} %, at most ${Math.max(...busy)} %`);
  }
}

// The table: the newest first, each row made once.

const kept = 100;
let arrived = [];

follow('/requests', {
  request(data) { arrived.push(JSON.parse(data)); arrived = arrived.slice(-kept); draw(); },
  'sse-gap'() { arrived.push(null); draw(); },
}, sayIn($('requests-state')));

function row(request) {
  const tr = document.createElement('tr');
  const cells = request ? [
    new Date(request.time * 1000).toLocaleTimeString([], { hour12: false }), request.method, request.path, request.status, (request.seconds * 1000).toFixed(1),
  ] : ['Some requests are missing here.'];
  for (const text of cells) tr.insertCell().textContent = text; // text, whatever is in it
  if (request) {
    tr.cells[2].title = request.path;
    tr.cells[4].className = 'number';
    tr.classList.toggle('failed', request.status >= 400);
  } else {
    tr.cells[0].colSpan = 5;
    tr.className = 'note';
  }
  return tr;
}

function drawRows() {
  if (!arrived.length) return;
  const rows = $('rows');
  if (rows.firstElementChild?.matches('.note') && rows.children.length === 1 && rows.querySelector('code')) rows.replaceChildren();
  rows.prepend(...arrived.map(row).reverse());
  arrived = [];
  while (rows.children.length > kept) rows.lastElementChild.remove();
}
