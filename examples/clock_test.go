package examples_test

import (
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/seed-4dedbcea/caddy-sse/examples/clock"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestTheClockTicks(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("sse /own {\nbackend clock 10ms\n}\nsse /shared {\nbackend clock 10ms\nshare {\nlinger 0\n}\n}"))
	for _, path := range []string{"/own", "/shared"} {
		s := ssetest.Get(t, ssetest.Client(t, "h2"), server.URL("h2", path))
		var last time.Time
		for _, e := range s.WaitEvents(3) {
			now, err := time.Parse(time.RFC3339Nano, e.Data)
			if err != nil || !now.After(last) {
				t.Errorf("%s: it is %s after %s: %v", path, e.Data, last, err)
			}
			last = now
		}
		s.Close()
	}
}

func TestTheClocksOptionsAreChecked(t *testing.T) {
	server := ssetest.Start(t, ssetest.Site("respond hi"))
	for options, want := range map[string]string{
		"": "wrong argument count", "1s 2s": "wrong argument count", "soon": "invalid duration", "-1s": "must be above zero",
	} {
		if err := server.TryReload(ssetest.Site("sse {\nbackend clock " + options + "\n}")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("backend clock %s: %v, want one that has %q", options, err, want)
		}
	}
}
