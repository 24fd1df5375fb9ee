package sse_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// spans receives spans by OTLP over HTTP.
type spans struct {
	mu  sync.Mutex
	all []*trace.Span
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request otlp.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
}

// attributes are those of the span with that name.
func (s *spans) attributes(name string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if span.Name != name {
			continue
		}
		attributes := make(map[string]any)
		for _, a := range span.Attributes {
			if attributes[a.Key] = a.Value.GetIntValue(); a.Value.GetStringValue() != "" {
				attributes[a.Key] = a.Value.GetStringValue()
			}
		}
		return attributes
	}
	return nil
}

func TestTheSpanOfAStreamSaysHowItWent(t *testing.T) {
	received := new(spans)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+ssetest.Upstream(t, received.ServeHTTP))
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	upstream := ssetest.Upstream(t, saying(ndjson, "1\n2\n"))
	server := ssetest.Start(t, ssetest.Site("tracing {\nspan traced-{path}\n}\n"+route("/next", "", "reverse_proxy "+upstream)+
		route("/shared", "backend http http://"+upstream+"\nend done\nshare {\nlinger 0\n}", "")+"respond /page hello"))
	body := wholeBody(t, get(t, server, "/next"))
	wholeBody(t, get(t, server, "/shared"))
	_ = wholeBody(t, ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/page")))
	for path, events := range map[string]int64{"/next": 2, "/shared": 3} {
		ssetest.Wait(t, "the span of "+path, func() bool { return received.attributes("traced-"+path) != nil })
		if a := received.attributes("traced-" + path); a["sse.events"] != events || a["sse.end_reason"] != "upstream_end" || path == "/next" && a["sse.bytes"] != int64(len(body)) {
			t.Errorf("%s: attributes %v", path, a)
		}
	}
	ssetest.Wait(t, "the span of a page", func() bool { return received.attributes("traced-/page") != nil })
	if a := received.attributes("traced-/page"); a["sse.end_reason"] != nil {
		t.Errorf("a page: attributes %v", a)
	}
}
