package sse_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// TestEachConfigInFrontOfAServiceServesItsPathAndNoOther runs the configs of the front page and of docs whose service is at
// localhost:9000, as they stand there. Recipes have a test of their own.
func TestEachConfigInFrontOfAServiceServesItsPathAndNoOther(t *testing.T) {
	const service, record = "localhost:9000", `{"n":1,"type":"tick"}`
	run := 0
	for _, b := range blocks(t, isManual) {
		path := regexp.MustCompile(`(?m)^\thandle (/\S+) \{$`).FindStringSubmatch(b.text)
		if b.language != "caddyfile" || !strings.Contains(b.text, service) || path == nil {
			continue
		}
		run++
		t.Run(b.page+" "+b.heading, func(t *testing.T) {
			t.Cleanup(share.CloseAll)
			with := instead(service, path[1], ndjson, record+"\n", nil)
			switch {
			case strings.Contains(b.text, "backend dial "):
				with = insteadTCP(service, "", record+"\n")
			case strings.Contains(b.text, "format event_stream"):
				with = instead(service, path[1], "text/event-stream", "data: "+record+"\n\n", nil)
			}
			config, upstream := with(t, b.text)
			site := regexp.MustCompile(`(?m)^\S*example\.com \{$`)
			if len(site.FindAllString(config, -1)) != 1 {
				t.Fatalf("there is no site, or more than one:\n%s", config)
			}
			server := ssetest.Start(t, site.ReplaceAllString(config, `http://localhost:{{port "http"}} {`))
			client := ssetest.Client(t, "h1")
			for _, other := range []string{"/", "/other", "/x" + path[1], path[1] + "/more", path[1] + "/../other"} {
				if s := ssetest.Get(t, client, server.URL("h1", other)); s.Header.Get("Content-Type") == "text/event-stream" || s.WaitEnd() != nil || s.Raw() != "" {
					t.Errorf("%s is answered %d, %q", other, s.Status, s.Raw())
				}
			}
			if reached := upstream.reached(); len(reached) > 0 {
				t.Errorf("other paths reached the service: %q", reached)
			}
			s := ssetest.Get(t, client, server.URL("h1", path[1]))
			if e := s.WaitEvents(1)[0]; e.Data != record {
				t.Errorf("the event is %+v", e)
			}
			s.Close()
			share.CloseAll() // the stand-in waits for the end of its connections
		})
	}
	if run < 10 {
		t.Errorf("only %d configs were run", run)
	}
}
