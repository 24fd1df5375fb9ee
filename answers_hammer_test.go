package sse_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// wordsOfAnswer is how many records the model of the test below says, unless it fails.
const wordsOfAnswer = 12

// Whatever clients, operators and reloads do at the same moment, a client gets one answer to its own question, in order, and
// nothing is left behind.
func TestAnswersHoldWhateverHappensAtTheSameMoment(t *testing.T) {
	ssetest.NoLeaks(t)
	t.Cleanup(share.CloseAll)
	var questions, asked atomic.Int64
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		question, _ := io.ReadAll(r.Body)
		answer := asked.Add(1)
		if r.Method != http.MethodPost || string(question) != "question" {
			t.Errorf("the model was asked with %s and %q", r.Method, question)
		}
		w.Header().Set("Content-Type", ndjson)
		for n := range wordsOfAnswer {
			fmt.Fprintf(w, "\"%s %d %d\"\n", r.URL.Path, answer, n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(rand.N(20 * time.Millisecond)):
			}
			if n > 0 && answer%5 == 0 {
				fmt.Fprintf(w, "\"error\"\n\"after the error\"\n")
				return
			}
		}
		fmt.Fprintf(w, "\"last\"\n\"after the end\"")
	})
	config := func(n int) string {
		return strings.Replace(withAdmin+ssetest.Site(fmt.Sprintf("# %d\n", n)+"@guest header X-Guest *\n"+route("/*", "name hammer\nformat ndjson\ncompress\ndrain 20ms\non_unavailable retry\nrecheck 30ms {\nrespond @guest 401\n}\n"+
			"expires {header.X-Until}\nend over\nend_when record==\"last\"\nerror_when record==\"error\"\nshare {path} {\nreplay all\nlive ready\nopen POST\nstop DELETE\nlinger 50ms\nkeep 100ms\n}", next)), "heartbeat off", "heartbeat 5ms", 1)
	}
	server := ssetest.Start(t, config(0))
	protocols := ssetest.Protocols[:4] // after a reload, quic-go may keep a connection that nobody has any more for 30 seconds
	clients := make(map[string]*http.Client)
	for _, protocol := range protocols {
		clients[protocol] = ssetest.Client(t, protocol)
	}
	var lastIDs sync.Map
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Second)
	defer stop()
	var workers sync.WaitGroup
	for worker := range 40 {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				protocol := protocols[(worker+n)%len(protocols)]
				path := fmt.Sprintf("/%d", rand.N(3))
				method := []string{"POST", "POST", "GET", "GET", "GET", "HEAD", "DELETE", "PUT", "OPTIONS"}[rand.N(9)]
				life, leave := context.WithTimeout(context.Background(), ssetest.Patience)
				if rand.N(4) == 0 {
					time.AfterFunc(rand.N(100*time.Millisecond), leave)
				}
				var body io.Reader
				if method == "POST" {
					questions.Add(1)
					body = strings.NewReader("question")
				}
				r, _ := http.NewRequestWithContext(life, method, server.URL(protocol, path), body)
				r.Header.Set("Accept", "text/event-stream")
				r.Header.Set("Accept-Encoding", []string{"zstd", "gzip", "identity"}[rand.N(3)])
				if id, ok := lastIDs.Load(fmt.Sprintf("/%d", rand.N(3))); ok && rand.N(2) == 0 {
					r.Header.Set("Last-Event-ID", id.(string))
				}
				if rand.N(8) == 0 {
					r.Header.Set("X-Until", fmt.Sprint(time.Now().Add(rand.N(100*time.Millisecond)).Format(time.RFC3339Nano)))
				}
				if response, err := clients[protocol].Do(r); err == nil {
					text, err := io.ReadAll(ssetest.Decoded(response))
					_ = response.Body.Close()
					if id := checkAnswer(t, method, path, response, string(text), err); id != "" {
						lastIDs.Store(path, id)
					}
				}
				leave()
			}
		})
	}
	for n := 1; ctx.Err() == nil; n++ {
		time.Sleep(100 * time.Millisecond)
		switch rand.N(4) {
		case 0:
			server.Reload(config(n))
		case 1:
			askAdmin(t, server, http.MethodDelete, "/sse/streams?name=hammer&uri=/1")
		default:
			for _, s := range listSources(t, server) {
				askAdmin(t, server, http.MethodDelete, "/sse/sources/"+s.ID)
				break
			}
		}
	}
	workers.Wait()
	if asked.Load() > questions.Load() || asked.Load() == 0 {
		t.Errorf("the model was asked %d times for %d questions", asked.Load(), questions.Load())
	}
	t.Logf("%d questions, %d answers", questions.Load(), asked.Load())
	ssetest.Wait(t, "all streams to go", func() bool { return len(stream.All()) == 0 })
	if n := counted(t, metrics.StreamsActive.WithLabelValues("hammer")); n != 0 {
		t.Errorf("%v streams are counted as active", n)
	}
}

// checkAnswer checks what a client of the model has got, and returns the id of the last word.
func checkAnswer(t *testing.T, method, path string, response *http.Response, text string, err error) (lastID string) {
	t.Helper()
	fail := func(why string) {
		t.Errorf("%s %s: %s: %d, %v, %v, %q", method, path, why, response.StatusCode, response.Header, err, text)
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK && response.Header.Get("Content-Type") == "text/event-stream":
	case status == http.StatusNoContent && text == "", status == http.StatusNotFound && method == "DELETE", status == http.StatusForbidden:
		return ""
	default:
		fail("wrong status")
		return ""
	}
	if method == "HEAD" || method == "DELETE" || method == "OPTIONS" {
		if text != "" || method != "HEAD" {
			fail("a body")
		}
		return ""
	}
	answer, word, over, failed, ready := -1, -1, 0, 0, 0
	for _, e := range ssetest.ParseAll([]byte(text)) {
		if over+failed > 0 {
			fail("an event after the end")
		}
		switch e.Type {
		case "over":
			over++
		case "sse-error":
			failed++
		case "ready":
			if ready++; ready > 1 {
				fail("ready twice")
			}
		case "sse-gap":
		case "message":
			var of string
			var number, n int
			if e.Data == `"last"` {
				if word >= 0 && word != wordsOfAnswer-1 {
					fail("last too early")
				}
				word++
				continue
			}
			_, _ = fmt.Sscanf(strings.Trim(e.Data, `"`), "%s %d %d", &of, &number, &n)
			if of != path || answer >= 0 && (number != answer || n != word+1) {
				fail("a word of another answer, or out of order")
			}
			answer, word, lastID = number, n, e.ID
		default:
			fail("an unknown event")
		}
	}
	if failed > 0 && err == nil && !strings.Contains(text, "unavailable") {
		fail("a failure that looks whole")
	}
	return lastID
}
