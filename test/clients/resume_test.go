//go:build integration

package clients_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// thinker is a language model that speaks as Ollama does, line by line: each piece of its answer comes when it is told to.
type thinker struct {
	asked atomic.Int64
	goOn  chan struct{} // closed: to the end
	left  chan struct{} // gets a value when the request is cut off
}

const pieces = 20

func (m *thinker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/page" {
		servePage(w)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	m.asked.Add(1)
	w.Header().Set("Content-Type", "application/x-ndjson")
	say := func(line string) {
		_, _ = io.WriteString(w, line+"\n")
		_ = http.NewResponseController(w).Flush()
	}
	piece := func(n int) string {
		return object("object", "chat.completion.chunk", "choices", []any{map[string]any{"index": 0, "delta": map[string]any{"content": word(n)}}})
	}
	if strings.HasPrefix(r.URL.Path, "/ai") {
		say(`{"type":"start","messageId":"m1"}`)
		say(`{"type":"text-start","id":"t1"}`)
		piece = func(n int) string { return object("type", "text-delta", "id", "t1", "delta", word(n)+" ") }
	}
	for n := range pieces {
		if n >= 3 {
			select {
			case <-m.goOn:
			case <-r.Context().Done():
				m.left <- struct{}{}
				return
			}
		}
		say(piece(n))
		time.Sleep(20 * time.Millisecond) // so that pieces come one by one
	}
	if strings.HasPrefix(r.URL.Path, "/ai") {
		say(`{"type":"text-end","id":"t1"}`)
		say(`{"type":"finish"}`)
	}
	say(`{"done":true}`)
	<-r.Context().Done() // only the record says that it is the end
}

func word(n int) string { return fmt.Sprintf("word-%d", n) }

func TestAnAnswerThatItsPageHasLeftIsTakenUpAgainFromAnywhere(t *testing.T) {
	for _, client := range []string{"openai", "ai"} {
		t.Run(client, func(t *testing.T) {
			m := &thinker{goOn: make(chan struct{}), left: make(chan struct{}, 9)}
			address := ssetest.Upstream(t, m.ServeHTTP)
			server := ssetest.Start(t, ssetest.Site(fmt.Sprintf(`handle /page {
	reverse_proxy %[1]s
}
handle {
	sse {
		where      "!has(record.done)"
		end_when   has(record.done)
		end        "" [DONE] stop
		share {path} {
			open    POST
			stop    DELETE
			replay  all
			history 10000
			linger  1m
			keep    1m
		}
	}
	reverse_proxy %[1]s
}`, address)))
			base, path := server.URL("h1", ""), "/"+client+"/1"
			asked := base + path
			if client == "openai" {
				path += "/chat/completions"
			}
			if got := page(t, client, "begin", asked); got != "word-0\nword-1\nword-2\n" {
				t.Fatalf("the page got %q before it left", got)
			}
			var all []string
			for n := range pieces {
				all = append(all, word(n))
			}
			chromium := nodeDriver(t)
			shown := make(chan report)
			go func() {
				shown <- chromium.do(job{ID: 1, Client: "vectors", Base: base, Path: path, Types: []string{"message"}, Patience: patience.Milliseconds()})
			}()
			resumed := make(chan string)
			go func() { resumed <- page(t, "fetch", "resume", base+path) }()
			time.Sleep(500 * time.Millisecond) // they may come before the rest, or after
			close(m.goOn)
			check := func(by, got string) {
				t.Helper()
				for _, want := range append([]string{"[DONE]"}, all...) {
					if n := strings.Count(got, want+"\"") + strings.Count(got, want+" ") + strings.Count(got, want+"\n"); n != 1 {
						t.Errorf("%s got %q %d times: %s", by, want, n, got)
					}
				}
			}
			check("fetch", <-resumed)
			var events strings.Builder
			for _, e := range (<-shown).Events {
				events.WriteString(e.Data + "\n")
			}
			check("EventSource", events.String())
			check("curl", curl(t, "-N", base+path))
			check("fetch after the end", page(t, "fetch", "resume", base+path))
			if client == "ai" {
				if got := page(t, "ai", "resume", asked); got != strings.Join(all, "\n")+"\n" {
					t.Errorf("resumeStream got %q", got)
				}
			}
			if n := m.asked.Load(); n != 1 {
				t.Errorf("the model was asked %d times, want once", n)
			}
			if got := curl(t, "-X", "DELETE", "-w", "%{http_code}", base+path); got != "204" {
				t.Errorf("DELETE: %s", got)
			}
			if got := page(t, "fetch", "resume", base+path); got != "204\n" {
				t.Errorf("after DELETE: %q", got)
			}

			m.goOn = make(chan struct{})
			_ = page(t, client, "begin", asked)
			stopped := make(chan string)
			go func() { stopped <- page(t, "fetch", "resume", base+path) }()
			time.Sleep(500 * time.Millisecond)
			if got := curl(t, "-X", "DELETE", "-w", "%{http_code}", base+path); got != "204" {
				t.Errorf("DELETE of an answer that goes on: %s", got)
			}
			<-m.left
			if got := <-stopped; got != "204\n" && !(strings.Contains(got, "word-2") && strings.HasSuffix(got, "[DONE]\n")) { // it may have come too late
				t.Errorf("a page beside it got %q", got)
			}
		})
	}
}

func page(t *testing.T, client, action, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	output, err := exec.CommandContext(ctx, "node", "node/resume.mjs", client, action, url).Output()
	if err != nil {
		t.Errorf("node node/resume.mjs %s %s: %v", client, action, err)
	}
	return string(output)
}

func curl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("curl", append([]string{"-sS", "--max-time", "120"}, args...)...).Output()
	if err != nil {
		t.Errorf("curl %s: %v", args, err)
	}
	return string(output)
}
