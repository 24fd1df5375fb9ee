//go:build integration

package clients_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// slowModel is a language model that takes its time. Under /ai it speaks as a server of the AI SDK does, elsewhere as Ollama. An
// answer below endless has no end.
type slowModel struct {
	words int
	pace  time.Duration
	asked atomic.Int64
	left  chan struct{} // gets a value when a request is cut off
}

func (m *slowModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/page" {
		servePage(w)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	m.asked.Add(1)
	w.Header().Set("Content-Type", "application/x-ndjson")
	before, piece, after := []string(nil), dialects["ollama"], []string(nil)
	if strings.HasPrefix(r.URL.Path, "/ai") {
		before = []string{`{"type":"start","messageId":"m1"}`, `{"type":"text-start","id":"t1"}`}
		after = []string{`{"type":"text-end","id":"t1"}`, `{"type":"finish"}`, `{"done":true}`}
		piece = func(text []string, _ []byte) answer {
			return answer{payloads: []event{{data: object("type", "text-delta", "id", "t1", "delta", text[0])}}}
		}
	} else {
		after = []string{dialects["ollama"](nil, nil).after[0].data}
	}
	say := func(line string) {
		_, _ = io.WriteString(w, line+"\n")
		_ = http.NewResponseController(w).Flush()
	}
	for _, line := range before {
		say(line)
	}
	for n := range m.words {
		say(piece([]string{word(n) + " "}, nil).payloads[0].data)
		select {
		case <-time.After(m.pace):
		case <-r.Context().Done():
			m.left <- struct{}{}
			return
		}
	}
	if strings.Contains(r.URL.Path, "/endless") {
		<-r.Context().Done()
		m.left <- struct{}{}
		return
	}
	for _, line := range after {
		say(line)
	}
}

// With SSE_SOAK=1 the answer takes a minute, and its page is killed after ten seconds.
func TestAnAnswerOutlivesThePageThatIsKilled(t *testing.T) {
	m := &slowModel{words: 60, pace: 100 * time.Millisecond, left: make(chan struct{}, 9)}
	if os.Getenv("SSE_SOAK") == "1" {
		m.pace = time.Second
	}
	answerTakes := time.Duration(m.words) * m.pace
	upstream := ssetest.Upstream(t, m.ServeHTTP)
	const kept = `end_when has(record.done)&&record.done
end "" [DONE] stop
share {path} {
	open    POST
	stop    DELETE
	replay  all
	history 10000
	linger  5m
	keep    5m
}`
	server := ssetest.Start(t, ssetest.Site(fmt.Sprintf(`reverse_proxy /page %[1]s
handle /ai/* {
	sse {
		where !has(record.done)
		%[2]s
	}
	reverse_proxy %[1]s
}
handle /openai/* {
	sse {
		where !record.done
		data  `+"`"+`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":{record.message.content|json}}}]}`+"`"+`
		%[2]s
	}
	reverse_proxy %[1]s
}`, upstream, kept)))
	base := server.URL("h1", "")
	var all []string
	for n := range m.words {
		all = append(all, word(n))
	}
	chromium := nodeDriver(t)
	jobs := 0
	// read has each client take an answer up, and returns what they got, word by word.
	read := func(path string) map[string]chan string {
		jobs++
		j := job{ID: jobs, Client: "vectors", Base: base, Path: path, Types: []string{"message"}, Patience: (answerTakes + patience).Milliseconds()}
		clients := map[string]func() string{
			"fetch": func() string { return page(t, "fetch", "resume", base+path) },
			"curl":  func() string { return curl(t, "-N", base+path) },
			"EventSource": func() string {
				var events strings.Builder
				said := chromium.do(j)
				for _, e := range said.Events {
					events.WriteString("data: " + e.Data + "\n")
				}
				return events.String() + said.Error
			},
		}
		if strings.HasPrefix(path, "/ai") {
			clients["resumeStream"] = func() string { return page(t, "ai", "resume", base+path) + `[DONE]` }
		}
		got := make(map[string]chan string)
		for name, client := range clients {
			got[name] = make(chan string, 1)
			go func() { got[name] <- client() }()
		}
		return got
	}
	want := func(when string, got map[string]chan string, complete bool) {
		for client, result := range got {
			text := <-result
			words := wordsIn(text)
			if !strings.Contains(text, "[DONE]") || !slices.Equal(words, all[:min(len(words), len(all))]) || len(words) == 0 || complete && len(words) < len(all) {
				t.Errorf("%s, %s got %d words, want them in order, with an end: %s", when, client, len(words), text)
			}
			t.Logf("%s, %s got %d of %d words", when, client, len(words), len(all))
		}
	}
	for _, client := range []string{"openai", "ai"} {
		t.Run(client, func(t *testing.T) {
			m.asked.Store(0)
			asked, path := base+"/"+client+"/1", "/"+client+"/1"
			if client == "openai" {
				path += "/chat/completions"
			}
			began := time.Now()
			shown := killedPage(t, client, asked, answerTakes/6)
			if n := len(shown); n == len(all) || !slices.Equal(shown, all[:n]) {
				t.Errorf("the page showed %q before it was killed", shown)
			}
			t.Logf("the page is killed %v after it asked, with %d words", time.Since(began).Round(time.Millisecond), len(shown))
			want("meanwhile", read(path), true)
			if took := time.Since(began); took < answerTakes {
				t.Errorf("the answer took %v, want %v at least", took, answerTakes)
			}
			want("afterwards", read(path), true)
			if n := m.asked.Load(); n != 1 {
				t.Errorf("the model was asked %d times, want once", n)
			}
			t.Logf("all have all %v after the question, and the model was asked once", time.Since(began).Round(time.Millisecond))

			asked, path = strings.Replace(asked, "/1", "/endless", 1), strings.Replace(path, "/1", "/endless", 1)
			killedPage(t, client, asked, answerTakes/6)
			readers := read(path)
			ssetest.Wait(t, "all readers to be there", func() bool { return len(stream.List()) == len(readers) })
			if got := curl(t, "-X", "DELETE", "-w", "%{http_code}", base+path); got != "204" {
				t.Errorf("DELETE is answered with %s", got)
			}
			<-m.left
			want("after DELETE", readers, false)
			if got := page(t, "fetch", "resume", base+path); got != "204\n" {
				t.Errorf("a client that comes after DELETE gets %q", got)
			}
		})
	}
}

// wordsIn are the words of the answer that a text has.
func wordsIn(text string) (words []string) {
	for _, piece := range strings.Split(text, "word-")[1:] {
		digits := strings.IndexFunc(piece, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(piece)
		}
		words = append(words, "word-"+piece[:digits])
	}
	return words
}

// killedPage has a page ask, kills it after that time or, if nothing has come by then, after the first words, and returns the
// words that it has shown.
func killedPage(t *testing.T, client, url string, after time.Duration) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "node/resume.mjs", client, "ask", url)
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(after)
	lines := bufio.NewReader(output)
	shown, _ := lines.ReadString('\n')
	time.Sleep(time.Until(deadline))
	_ = cmd.Process.Kill()
	rest, _ := io.ReadAll(lines)
	_ = cmd.Wait()
	return wordsIn(shown + string(rest))
}
