package sse_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestACompressedStreamArrivesLive(t *testing.T) {
	ssetest.NoLeaks(t)
	upstreams := make(map[string]*script)
	var routes strings.Builder
	for _, protocol := range ssetest.Protocols {
		for _, coding := range []string{"zstd", "gzip"} {
			path := "/" + protocol + coding
			upstreams[path] = newScript(ndjson)
			routes.WriteString(route(path, "compress\nretry 2s\nend done", "reverse_proxy "+ssetest.Upstream(t, upstreams[path].ServeHTTP)))
		}
	}
	server := ssetest.Start(t, ssetest.Site(routes.String()))
	records := ssetest.Records(1000)
	bulk := strings.Repeat("0123456789", 20_000) // as one record, it is larger than any block
	for path, upstream := range upstreams {
		protocol, coding := path[1:len(path)-4], path[len(path)-4:]
		s := getOver(t, server, protocol, path, ssetest.Compressed(coding))
		if s.Header.Get("Content-Encoding") != coding || s.Header.Get("Vary") != "Accept, Accept-Encoding" {
			t.Errorf("%s: header %v", path, s.Header)
		}
		s.WaitComments(1)
		for i, record := range records[:20] {
			upstream.say(record + "\n")
			if got := s.WaitEvents(i + 1)[i].Data; got != record {
				t.Fatalf("%s: got %q, want %q", path, got, record)
			}
		}
		upstream.say(strings.Join(records[20:], "\n")+"\n", bulk+"\n", "1\n")
		close(upstream.pieces)
		want := "retry: 2000\n:\ndata: " + strings.Join(append(records, bulk, "1"), "\n\ndata: ") + "\n\nevent: done\ndata: done\n\n"
		if got := wholeBody(t, s); got != want {
			t.Errorf("%s: got %d bytes, want %d", path, len(got), len(want))
		}
	}
}

// A client that joins at any time, between any other clients, gets each event as soon as it comes.
func TestASharedStreamIsCompressedForClientsThatJoinAtAnyTime(t *testing.T) {
	server, u := sharing(t, "compress\nend done")
	records := ssetest.Records(60)
	var streams []*ssetest.Stream
	var first []int // the record that each stream gets first
	accepts := []string{"zstd", "gzip", "identity", "gzip, zstd"}
	u.greeting = "0\n"
	for i, record := range records {
		protocol := ssetest.Protocols[i%len(ssetest.Protocols)]
		s := getOver(t, server, protocol, "/", ssetest.Compressed(accepts[i%len(accepts)]))
		waitOpen(t, s)
		if i == 0 {
			wantEvents(t, s, "0")
		}
		streams, first = append(streams, s), append(first, i)
		u.say(record + "\n")
		for j, s := range streams {
			n := i - first[j] + 1
			if j == 0 {
				n++
			}
			if got := s.WaitEvents(n)[n-1].Data; got != record {
				t.Fatalf("client %d: got %q, want %q\n%s", j, got, record, s)
			}
		}
	}
	u.end(nil)
	for i, s := range streams {
		events := ssetest.ParseAll([]byte(wholeBody(t, s)))
		if last := events[len(events)-1]; last.Type != "done" {
			t.Errorf("client %d: last event %v", i, last)
		}
	}
}

// Text for one client comes between two pieces of text for all clients.
func TestHeartbeatsComeBetweenCompressedEvents(t *testing.T) {
	server, u := sharing(t, "compress\nheartbeat 10ms")
	streams := make(map[string]*ssetest.Stream)
	for _, coding := range []string{"zstd", "gzip"} {
		streams[coding] = get(t, server, "/", ssetest.Compressed(coding))
		waitOpen(t, streams[coding])
	}
	for i, record := range ssetest.Records(20) {
		if i%3 == 1 {
			u.say("\n") // the upstream's own heartbeat
		}
		u.say(record + "\n")
		for coding, s := range streams {
			if got := s.WaitEvents(i + 1)[i].Data; got != record {
				t.Fatalf("%s: got %q, want %q\n%s", coding, got, record, s)
			}
			if i%2 == 0 {
				s.WaitComments(len(s.Comments()) + 1)
			}
		}
	}
}

func TestACompressedStreamResumes(t *testing.T) {
	server, u := sharing(t, "compress\nshare {\nreplay 2\n}")
	live := get(t, server, "/", ssetest.Compressed("zstd"))
	waitOpen(t, live)
	u.say("1\n", "2\n", "3\n")
	seen := wantEvents(t, live, "1 2 3")
	var streams []*ssetest.Stream
	for _, coding := range []string{"zstd", "gzip"} {
		streams = append(streams,
			get(t, server, "/", ssetest.Compressed(coding), ssetest.LastEventID(seen[0].ID)),
			get(t, server, "/", ssetest.Compressed(coding)))
		unknown := get(t, server, "/", ssetest.Compressed(coding), ssetest.LastEventID("unknown"))
		if e := unknown.Next(0); e.Type != frame.TypeGap {
			t.Errorf("%s: got %v, want a gap", coding, e)
		}
		if got := texts(unknown.WaitEvents(4)[1:]); got != "1 2 3" {
			t.Errorf("%s: got %q after the gap", coding, got)
		}
	}
	for _, s := range streams {
		wantEvents(t, s, "2 3")
	}
	u.say("4\n")
	for _, s := range streams {
		wantEvents(t, s, "2 3 4")
	}
}

func TestACompressedStreamThatFallsBehindSkips(t *testing.T) {
	server, u := sharing(t, "compress\nshare {\nhistory 5 100KB\nlag skip\n}")
	for _, coding := range []string{"zstd", "gzip"} {
		path := "/" + coding
		s := get(t, server, path, ssetest.Compressed(coding))
		waitOpen(t, s)
		fallBehind(t, u, s, path)
		ssetest.Wait(t, "a gap", func() bool {
			u.say("2\n")
			for _, e := range s.Events() {
				if e.Type == frame.TypeGap && strings.Contains(e.Data, frame.GapLag) {
					return true
				}
			}
			return false
		})
		u.say("last\n")
		ssetest.Wait(t, "the last event", func() bool { events := s.Events(); return events[len(events)-1].Data == "last" })
		s.Close()
	}
}

func TestACompressedStreamWhoseClientStopsReadingIsDropped(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("compress\nstall_timeout 1s", nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, noise())
		}
	})))
	for _, coding := range []string{"zstd", "gzip"} {
		s := get(t, server, "/"+coding, ssetest.Compressed(coding))
		s.WaitEvents(1)
		s.Pause()
		if reason := waitAccessLog(server, "/"+coding).Fields["end_reason"]; reason != "client_stalled" {
			t.Errorf("%s: ended by %v", coding, reason)
		}
		s.Close()
	}
}

func TestACompressedMappingOfEachClientsOwn(t *testing.T) {
	server, u := sharing(t, "format ndjson\ncompress\nwhere record.user == {query.user}\ndata {record.n}")
	streams := make(map[string]*ssetest.Stream)
	for _, coding := range []string{"zstd", "gzip"} {
		streams[coding] = get(t, server, "/?user="+coding, ssetest.Compressed(coding))
		waitOpen(t, streams[coding])
	}
	for n := range 100 {
		for coding, s := range streams {
			u.say(fmt.Sprintf("{\"user\":%q,\"n\":%d}\n", coding, n))
			if got := s.WaitEvents(n + 1)[n].Data; got != fmt.Sprint(n) {
				t.Fatalf("%s: got %q, want %d", coding, got, n)
			}
		}
	}
}

// The end of the coding would tell the client that the stream is complete.
func TestACompressedStreamThatIsBrokenOffHasNoEnd(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("compress", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		for _, coding := range []string{"zstd", "gzip"} {
			r, _ := http.NewRequest(http.MethodGet, server.URL(protocol, "/"), nil)
			r.Header.Set("Accept-Encoding", coding)
			response, err := ssetest.Client(t, protocol).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			upstream.say("1\n", abort)
			body, broken := io.ReadAll(response.Body)
			_ = response.Body.Close()
			plain, err := decompress(coding, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(plain)
			if string(text) != ":\ndata: 1\n\nevent: sse-error\ndata: {\"reason\":\"upstream_error\"}\n\n" || broken == nil || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %s: got %q, %v, %v", protocol, coding, text, broken, err)
			}
		}
	}
}

func TestACompressedStreamIsDrained(t *testing.T) {
	server, u := sharing(t, "compress\nretry 2s")
	var streams []*ssetest.Stream
	for _, coding := range []string{"zstd", "gzip"} {
		s := get(t, server, "/", ssetest.Compressed(coding))
		waitOpen(t, s)
		streams = append(streams, s)
	}
	u.say("1\n")
	for _, s := range streams {
		wantEvents(t, s, "1")
	}
	server.Stop()
	for _, s := range streams {
		if body := wholeBody(t, s); strings.Count(body, "retry: ") != 2 {
			t.Errorf("got %q", body)
		}
	}
}

func TestEncodeAroundLeavesACompressedStreamAlone(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, strings.Replace(site("compress zstd", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)), "sse {", "encode gzip zstd\nsse {", 1))
	for accepts, want := range map[string]string{
		"zstd, gzip": "zstd",
		"gzip":       "gzip", // encode's own: the option does not have it
		"br":         "",
		"identity":   "",
	} {
		s := get(t, server, "/", ssetest.Compressed(accepts))
		if got := strings.Join(s.Header["Content-Encoding"], ", "); got != want || !strings.Contains(s.Header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: header %v", accepts, s.Header)
		}
		s.WaitComments(1)
		upstream.say("1\n")
		wantEvents(t, s, "1")
		upstream.say(abort)
		_ = s.WaitEnd()
	}
}

func TestTheCodingIsTheClientsChoice(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		w.Header().Set("Vary", "Cookie")
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, "1\n")
		}
	})
	server := ssetest.Start(t, ssetest.Site(route("/backend", "compress\nbackend exec echo 1", "")+route("/next", "compress", next)))
	for _, path := range []string{"/backend", "/next"} {
		for accepts, want := range map[string]string{
			"gzip, deflate, br, zstd": "zstd", "zstd;q=0.5, gzip": "gzip", "*": "zstd", "gzip;q=0, *;q=0.1": "zstd",
			"br": "", "gzip;q=9": "", ";;\x80,=": "", "identity;q=0": "", "": "",
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r, _ := http.NewRequest(method, server.URL("h1", path), nil)
				r.Header.Set("Accept-Encoding", accepts)
				s := ssetest.Do(t, ssetest.Client(t, "h1"), r)
				if got := s.Header.Get("Content-Encoding"); s.Status != http.StatusOK || got != want || !strings.HasSuffix(s.Header.Get("Vary"), "Accept, Accept-Encoding") {
					t.Errorf("%s %s with %q: %d, want coding %q, header %v", method, path, accepts, s.Status, want, s.Header)
				}
				if err := s.WaitEnd(); method == http.MethodGet && (err != nil || len(s.Events()) != 1) {
					t.Errorf("%s with %q: %v", path, accepts, s)
				}
			}
		}
	}
}

// The stream has begun in its coding, whatever the upstream then answers.
func TestACompressedStreamThatOpensBeforeItsUpstreamAnswers(t *testing.T) {
	ssetest.NoLeaks(t)
	release := make(chan struct{})
	upstream := ssetest.Upstream(t, answersLate(release))
	server := ssetest.Start(t, ssetest.Site(route("/*", "open_after 10ms\ncompress", "reverse_proxy "+upstream)))
	type answer struct {
		stream *ssetest.Stream
		want   string
	}
	var answers []answer
	for _, coding := range []string{"zstd", "gzip"} {
		for kind, want := range map[string]string{
			ndjson: "data: 1\n\n", "text/event-stream": "id: 1\ndata: 1\n\n",
			"text/html": "event: sse-error\ndata: {\"reason\":\"upstream_error\",\"status\":502}\n\n",
		} {
			s := get(t, server, "/?status=200&type="+kind, ssetest.Compressed(coding))
			s.WaitComments(1)
			if s.Header.Get("Content-Encoding") != coding {
				t.Errorf("header %v", s.Header)
			}
			answers = append(answers, answer{s, want})
		}
	}
	close(release)
	for _, a := range answers {
		if err := a.stream.WaitEnd(); a.stream.Raw() != ":\n"+a.want || (err != nil) != strings.Contains(a.want, "sse-error") {
			t.Errorf("got %q, %v, want %q", a.stream.Raw(), err, a.want)
		}
	}
}

func TestAStreamThatSaysThatItIsUnavailableIsCompressed(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("compress\non_unavailable retry", "respond busy 503"))
	for _, coding := range []string{"zstd", "gzip"} {
		s := get(t, server, "/", ssetest.Compressed(coding))
		if body := wholeBody(t, s); s.Header.Get("Content-Encoding") != coding || !strings.Contains(body, "unavailable") {
			t.Errorf("%s: header %v, body %q", coding, s.Header, body)
		}
	}
}

func TestWhatIsNoStreamOfOursIsNotCompressed(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, "data: 1\n\n")
	})
	server := ssetest.Start(t, site("compress\naccept negotiate", next))
	for _, test := range []struct{ kind, accept string }{
		{"text/event-stream", "text/event-stream"}, {"text/html", "text/event-stream"}, {ndjson, "application/json"},
	} {
		response, body := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", "/?type="+test.kind), "", ssetest.With("Accept", test.accept), ssetest.Compressed("zstd, gzip"))
		if response.Header.Get("Content-Encoding") != "" || body != "data: 1\n\n" {
			t.Errorf("%s: header %v, body %q", test.kind, response.Header, body)
		}
	}
}

// curl knows both codings by itself.
func TestCurlShowsACompressedStreamLive(t *testing.T) {
	for _, coding := range []string{"zstd", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			server, u := sharing(t, "compress "+coding+"\nend done")
			first := get(t, server, "/", ssetest.Compressed(coding))
			waitOpen(t, first)
			u.say("0\n")
			curl := exec.Command("curl", "--silent", "--show-error", "--no-buffer", "--compressed", "--include", "--noproxy", "*", server.URL("h1", "/"))
			out, err := curl.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := curl.Start(); err != nil {
				t.Fatal(err)
			}
			lines, coded := bufio.NewScanner(out), false
			wait := func(want string) {
				t.Helper()
				for lines.Scan() {
					coded = coded || strings.EqualFold(lines.Text(), "Content-Encoding: "+coding)
					if lines.Text() == want {
						return
					}
				}
				t.Fatalf("curl has ended before %q", want)
			}
			wait("")
			wait("") // the id-only block
			for n := range 50 {
				u.say(fmt.Sprintf("%d\n", n+1))
				wait(fmt.Sprintf("data: %d", n+1))
			}
			u.end(nil)
			wait("data: done")
			wait("")
			if err := curl.Wait(); err != nil || !coded {
				t.Errorf("coded %t, curl: %v", coded, err)
			}
		})
	}
}
