package listen_test

import (
	"net"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// waitListens waits until somebody listens.
func waitListens(t *testing.T, address string) {
	t.Helper()
	ssetest.Wait(t, "the source to listen", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestListenBoundsWhatAllSendersLeaveUnfinished(t *testing.T) {
	ssetest.NoLeaks(t)
	const senders, size = 80, 1_000_000
	address := ssetest.FreeAddress(t)
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend listen "+address+"\ndata {record.n}\n}"))
	waitListens(t, address)
	s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"))
	dropped := func() float64 {
		var m dto.Metric
		if err := metrics.RecordsDropped.WithLabelValues("", "record_too_large").Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetCounter().GetValue()
	}
	before := dropped()
	half := `{"n":1,"x":"` + strings.Repeat("x", size)
	conns := make([]net.Conn, senders)
	for i := range conns {
		conns[i] = ssetest.Send(t, "tcp", address, half)
	}
	server.WaitLog("that it is too much", func(l ssetest.Log) bool {
		return l.Level == "warn" && strings.Contains(l.Message, "too large together")
	})
	for _, conn := range conns {
		write(t, conn, "\"}\n")
	}
	// Each record is either delivered whole or reported as lost.
	s.WaitEvents(senders)
	lost := 0
	for _, e := range s.Events() {
		switch {
		case e.Type == "sse-gap" && strings.Contains(e.Data, frame.GapRecordTooLarge):
			lost++
		case e.Data != "1":
			t.Fatalf("got %+v", e)
		}
	}
	if lost == 0 || lost > senders/2 {
		t.Errorf("%d of %d were lost", lost, senders)
	}
	ssetest.Wait(t, "the count of what was lost", func() bool {
		return dropped()-before == float64(lost)
	})
}

func TestListenEndsWithTheConfig(t *testing.T) {
	ssetest.NoLeaks(t)
	address := ssetest.FreeAddress(t)
	server := ssetest.Start(t, ssetest.Site("sse {\nbackend listen "+address+"\nshare {\nlinger 1h\n}\ndrain 0\n}"))
	waitListens(t, address)
	s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/"))
	ssetest.Send(t, "tcp", address, "a\n")
	s.WaitEvents(1)
	server.Reload("# nothing runs")
	ssetest.Wait(t, "the socket to be closed", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}
