package sse_test

import (
	"fmt"
	"runtime"
	"testing"
	"weak"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// The source stays open for one client. It must not keep the memory of clients that have left.
func TestNothingOfAStreamIsHeldOnceItsClientHasLeft(t *testing.T) {
	for name, options := range map[string]string{
		"events for all":  "max_duration 1h",
		"events for each": "data {query.n}\nmax_streams_per_client 1000",
		"a long linger":   "share {\nlinger 1h\n}",
	} {
		t.Run(name, func(t *testing.T) {
			// The runtime may keep a stopped timer, and all it refers to, until its time comes: that of a heartbeat is soon.
			server, u := sharing(t, "heartbeat 100ms\n"+options)
			stays := get(t, server, "/?n=stays")
			waitOpen(t, stays)
			stayed := stream.All()[0]

			const clients = 20
			var leaving []*ssetest.Stream
			for n := range clients {
				s := get(t, server, fmt.Sprint("/?n=", n))
				waitOpen(t, s)
				leaving = append(leaving, s)
			}
			var held []weak.Pointer[stream.Stream]
			for _, s := range stream.All() {
				if s != stayed {
					held = append(held, weak.Make(s))
				}
			}
			if len(held) != clients { // a delivery holds its stream
				t.Fatalf("%d streams, want %d", len(held), clients)
			}
			u.say("1\n")
			stays.WaitEvents(1)
			for _, s := range leaving {
				s.WaitEvents(1)
				s.Close()
			}
			left := func() (n int) {
				for i := range held {
					if held[i].Value() != nil {
						n++
					}
				}
				return n
			}
			ssetest.Wait(t, "the streams to be freed", func() bool { runtime.GC(); return left() == 0 })
			runtime.KeepAlive(stayed)
		})
	}
}
