package share

import (
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
)

// tellLive sends the live event, once, after the events that were kept when the client came. The event has the id of the last event, for
// clients that ignore an id without an event.
func (d *delivery) tellLive(state history.State) {
	if d.isLive || d.err != nil || state == history.Lagged { // after lag, the gap comes first
		return
	}
	at := d.subscriber.Cursor()
	if at < d.liveAt && state != history.Parked && state != history.Closed {
		return
	}
	d.isLive = true
	id := d.batch.LastID
	if d.batch.Mapper == nil || len(id) == 0 {
		id = d.standing(at)
	}
	event, ok := eventstream.AppendID(nil, id)
	if !ok {
		event = nil
	}
	d.err = d.stream.Write(append(event, d.server.LiveFrame...), 1)
}
