package sse_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// do makes a request as it is given, and reads the whole response.
func do(t *testing.T, client *http.Client, method, url, body string, options ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*ssetest.Patience) // a stream that nobody expects never ends
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range options {
		option(r)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
	}
	return response, string(text)
}

func TestOtherResponsesPassThroughUnchanged(t *testing.T) {
	ssetest.NoLeaks(t)
	responses := map[string]http.HandlerFunc{
		"/html":     saying("text/html; charset=utf-8", "<p>\n"),
		"/image":    saying("image/png", "\x89PNG\n"),
		"/notfound": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "{\"no\":1}\n", http.StatusNotFound) },
		"/failing":  func(w http.ResponseWriter, r *http.Request) { http.Error(w, "oh\n", http.StatusInternalServerError) },
		"/redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"/none":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"/same": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		},
		"/part": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-1/9")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, "1\n")
		},
		"/created": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ndjson)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "{}\n")
		},
		"/trailer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "x")
			w.Header().Set("X-Sum", "1")
		},
	}
	mux := http.NewServeMux()
	for path, response := range responses {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			w.Header().Set("X-Own", "1")
			w.Header().Set("Cache-Control", "max-age=9")
			w.Header().Set("Vary", "Accept, Origin")
			response(w, r)
		})
	}
	address := ssetest.Upstream(t, mux.ServeHTTP)
	server := ssetest.Start(t, ssetest.Site("handle_path /direct/* {\nreverse_proxy "+address+"\n}\nhandle_path /sse/* {\nroute {\nsse {\nheartbeat 1ms\nretry 1s\n}\nreverse_proxy "+address+"\n}\n}"))
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		for path := range responses {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				if path == "/trailer" && method == "HEAD" {
					continue
				}
				want, wantBody := do(t, client, method, server.URL(protocol, "/direct"+path), "")
				got, gotBody := do(t, client, method, server.URL(protocol, "/sse"+path), "")
				want.Header.Del("Date")
				got.Header.Del("Date")
				if protocol == "h3" && method == "HEAD" { // quic-go adds it if the headers are not flushed in time
					want.Header.Del("Content-Length")
					got.Header.Del("Content-Length")
					want.ContentLength, got.ContentLength = 0, 0
				}
				if got.StatusCode != want.StatusCode || gotBody != wantBody || fmt.Sprint(got.Header) != fmt.Sprint(want.Header) || fmt.Sprint(got.Trailer) != fmt.Sprint(want.Trailer) || got.ContentLength != want.ContentLength {
					t.Errorf("%s %s over %s: got %d %q %v %v, want %d %q %v %v", method, path, protocol, got.StatusCode, gotBody, got.Header, got.Trailer, want.StatusCode, wantBody, want.Header, want.Trailer)
				}
			}
		}
	}
}

func TestAnEventStreamOfTheUpstreamsPassesThrough(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript("text/event-stream; charset=utf-8")
	server := ssetest.Start(t, site("retry 1s\nheartbeat 1ms\nend done", "reverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, protocol := range ssetest.Protocols {
		path := "/?" + protocol
		s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path))
		if s.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Errorf("header %v", s.Header)
		}
		for i := range 3 {
			upstream.say(fmt.Sprintf("data: %d\r\n\r\n", i))
			if e := s.Next(0); e.Data != fmt.Sprint(i) {
				t.Errorf("got %+v", e)
			}
		}
		upstream.say("data: cut", abort)
		if err := s.WaitEnd(); err == nil {
			t.Errorf("%s: a response that broke off passes for a whole one", protocol)
		}
		if raw := strings.ReplaceAll(s.Raw(), eventstream.Comment, ""); !strings.HasPrefix("data: 0\r\n\r\ndata: 1\r\n\r\ndata: 2\r\n\r\ndata: cut", raw) || strings.Count(raw, "\n\r\n") != 3 {
			t.Errorf("%s: the stream was changed: %q", protocol, raw)
		}
	}
	s := ssetest.Get(t, ssetest.Client(t, "h1"), server.URL("h1", "/left"))
	upstream.say("data: 1\n\n")
	s.WaitEvents(1)
	s.Close()
	<-upstream.left
	if access := waitAccessLog(server, "/left"); access.Fields["end_reason"] != "client_gone" {
		t.Errorf("access log: %v", access.Fields)
	}
}

func TestHeadersOfTheUpstreamThatDoNotHoldForAStreamGo(t *testing.T) {
	ssetest.NoLeaks(t)
	gone := []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Unencoded-Digest", "Trailer"}
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range gone[2:10] {
			w.Header().Set(name, "x")
		}
		w.Header().Set("Content-Length", "2")
		w.Header().Set("Content-Encoding", "identity")
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("X-Own", "stays")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("Vary", "Origin")
		w.Header().Set("Content-Type", ndjson)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, "1\n")
		}
	})
	trailing := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "1\n")
		w.Header().Set("X-Sum", "1")
	})
	server := ssetest.Start(t, ssetest.Site("header Cache-Control public\nsse\nreverse_proxy /trailer "+trailing+"\nreverse_proxy "+upstream))
	for _, protocol := range ssetest.Protocols {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			response, text := do(t, ssetest.Client(t, protocol), method, server.URL(protocol, "/"), "{}")
			want := ":\ndata: 1\n\n"
			if method == "HEAD" {
				want = ""
			}
			if text != want {
				t.Errorf("%s over %s: got %q", method, protocol, text)
			}
			for name, value := range map[string]string{
				"Content-Type": "[text/event-stream]", "Cache-Control": "[no-cache]", "X-Accel-Buffering": "[no]", "Incremental": "[?1]",
				"Vary": "[Origin, Accept]", "X-Own": "[stays]", "Set-Cookie": "[a=1 b=2]",
			} {
				if got := fmt.Sprint(response.Header[name]); got != value {
					t.Errorf("%s over %s: %s is %s, want %s", method, protocol, name, got, value)
				}
			}
			for _, name := range gone {
				if value, ok := response.Header[name]; ok {
					t.Errorf("%s over %s: %s: %v has stayed", method, protocol, name, value)
				}
			}
		}
		response, _ := do(t, ssetest.Client(t, protocol), "GET", server.URL(protocol, "/trailer"), "")
		if len(response.Trailer) > 0 || response.Header.Get("X-Sum") != "" {
			t.Errorf("over %s: trailers %v, header %v", protocol, response.Trailer, response.Header)
		}
	}
}

func TestPostWithABodyIsAnsweredByAStream(t *testing.T) {
	ssetest.NoLeaks(t)
	prompt := strings.Repeat("prompt ", 50_000)
	asked := make(chan string, len(ssetest.Protocols))
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		asked <- string(text)
		saying(ndjson, "1\n")(w, r)
	})))
	for _, protocol := range ssetest.Protocols {
		_, text := do(t, ssetest.Client(t, protocol), "POST", server.URL(protocol, "/"), prompt)
		if text != ":\ndata: 1\n\n" {
			t.Fatalf("%s: got %q", protocol, text)
		}
		if sent := <-asked; sent != prompt {
			t.Errorf("%s: the upstream was sent %d bytes of %d", protocol, len(sent), len(prompt))
		}
	}
}

func TestHTTP10StreamEndsWithItsConnection(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, saying(ndjson, "1\n"))))
	connection, err := net.Dial("tcp", server.Addr("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if string(text) != ":\ndata: 1\n\n" || err != nil || len(response.TransferEncoding) > 0 || !response.Close {
		t.Errorf("got %q, %v, %v", text, err, response)
	}
}

func TestAClientThatLeavesInTheMiddleOfItsBodyIsNoError(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site(logging+"sse\nreverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})))
	for i := range 10 {
		connection, err := net.Dial("tcp", server.Addr("http"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nab", i)
		ssetest.Wait(t, "the request", func() bool { return len(stream.All()) == 1 })
		connection.Close()
		if l := waitAccessLog(server, fmt.Sprintf("/%d", i)); l.Fields["status"] != 499.0 {
			t.Errorf("status %v, want 499", l.Fields["status"])
		}
	}
}

func TestInformationalResponsesPass(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		saying(ndjson, "1\n")(w, r)
	})))
	for _, protocol := range []string{"h1", "h2"} {
		var hints atomic.Value
		r, _ := http.NewRequest("GET", server.URL(protocol, "/"), nil)
		r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints.Store(fmt.Sprint(code, header["Link"]))
			return nil
		}}))
		s := ssetest.Do(t, ssetest.Client(t, protocol), r)
		if text := wholeBody(t, s); text != ":\ndata: 1\n\n" || hints.Load() != "103 [</style.css>]" {
			t.Errorf("%s: got %q after %q", protocol, text, hints.Load())
		}
	}
}

func TestOnlyWhatIsAnUpgradePasses(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, saying(ndjson, "1\n"))
	server := ssetest.Start(t, ssetest.Site("handle /next {\nsse\n"+next+"\n}\nhandle /backend {\nsse {\nbackend exec echo 1\n}\n"+next+"\n}"))
	for path, connection := range map[string]string{"/next": "keep-alive", "/backend": "Upgrade"} {
		_, text := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", path), "", func(r *http.Request) {
			r.Header.Set("Connection", connection)
			r.Header.Set("Upgrade", "websocket")
		})
		if text != ":\ndata: 1\n\n" {
			t.Errorf("%s: got %q", path, text)
		}
	}
}

func TestUpgradesPass(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			saying(ndjson, "1\n")(w, r)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		line, _ := buffered.ReadString('\n')
		fmt.Fprint(connection, "echo "+line)
	})))
	connection, err := net.Dial("tcp", server.Addr("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	fmt.Fprint(connection, "hello\n")
	if line, err := reader.ReadString('\n'); line != "echo hello\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}

	// A WebSocket over HTTP/3 (RFC 9220), which reverse_proxy makes an upgrade of.
	in, out := io.Pipe()
	r, err := http.NewRequest(http.MethodConnect, server.URL("h3", "/"), in)
	if err != nil {
		t.Fatal(err)
	}
	r.Proto = "websocket"
	response, err = ssetest.Client(t, "h3").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Fprint(out, "hello\n")
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "echo hello\n" || err != nil {
		t.Errorf("h3: status %d, got %q, %v", response.StatusCode, line, err)
	}
	_ = out.Close()

	s := get(t, server, "/", ssetest.With("Upgrade", "h2c"), ssetest.With("Connection", "Upgrade, HTTP2-Settings")) // as curl --http2
	if text := wholeBody(t, s); text != ":\ndata: 1\n\n" {
		t.Errorf("a client that offers HTTP/2 got %q", text)
	}
}

func TestMatchSaysWhichResponsesAreConverted(t *testing.T) {
	ssetest.NoLeaks(t)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		w.Header().Set("X-Stream", r.URL.Query().Get("stream"))
		w.WriteHeader(map[string]int{"": 200, "created": 201, "missing": 404}[r.URL.Query().Get("status")])
		_, _ = io.WriteString(w, "1\n")
	})
	server := ssetest.Start(t, site("match {\nstatus 2xx\nheader X-Stream yes\n}", next))
	for query, want := range map[string]string{
		"type=text/html&stream=yes":                ":\ndata: 1\n\n",
		"type=text/html&stream=yes&status=created": ":\ndata: 1\n\n",
		"type=text/html&stream=yes&status=missing": "1\n",
		"type=application/x-ndjson":                "1\n",
		"type=application/x-ndjson&stream=no":      "1\n",
	} {
		if _, text := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", "/?"+query), ""); text != want {
			t.Errorf("%s: got %q, want %q", query, text, want)
		}
	}
}

// compressor is what upstreams compress with although asked not to.
type compressor interface {
	io.WriteCloser
	Flush() error
}

func TestACompressedUpstreamIsDecodedLive(t *testing.T) {
	ssetest.NoLeaks(t)
	records := ssetest.Records(5)
	newCompressor := map[string]func(io.Writer) compressor{
		"gzip": func(w io.Writer) compressor { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) compressor { z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)); return z },
	}
	for encoding, newWriter := range newCompressor {
		t.Run(encoding, func(t *testing.T) {
			next, left := make(chan string), make(chan struct{}, 1)
			server := ssetest.Start(t, site("end done", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", ndjson)
				w.Header().Set("Content-Encoding", encoding)
				_ = http.NewResponseController(w).Flush()
				z := newWriter(w)
				for {
					select {
					case record := <-next:
						switch record {
						case "end":
							_ = z.Close()
							return
						case "cut": // though the response ends cleanly
							return
						case "garbage":
							_, _ = io.WriteString(w, strings.Repeat("garbage", 100))
						default:
							_, _ = io.WriteString(z, record+"\n")
							_ = z.Flush()
						}
						_ = http.NewResponseController(w).Flush()
					case <-r.Context().Done():
						left <- struct{}{}
						return
					}
				}
			})))
			for last, want := range map[string]string{"end": "done", "cut": "sse-error", "garbage": "sse-error"} {
				s := get(t, server, "/"+last)
				s.WaitComments(1)
				for _, record := range records {
					next <- record
					if e := s.Next(0); e.Data != record {
						t.Fatalf("got %+v, want %s", e, record)
					}
				}
				next <- last
				if e := s.Next(0); e.Type != want {
					t.Errorf("%s: got %+v", last, e)
				}
				if last == "end" {
					wholeBody(t, s)
				} else {
					brokenBody(t, s)
				}
				if last == "garbage" {
					<-left // before the next stream's handler takes from the same channel
				}
			}
			s := get(t, server, "/leaving")
			next <- "1"
			s.WaitEvents(1)
			s.Close()
			<-left
			for _, l := range server.Logs() {
				if request, _ := l.Fields["request"].(map[string]any); l.Level == "warn" && request["uri"] == "/leaving" {
					t.Errorf("logged: %v", l.Fields)
				}
			}
		})
	}
}

func TestAnEncodingThatCannotBeDecodedIsABadGateway(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		w.Header().Set("Etag", "x")
		w.Header().Set("X-Upstream", "x")
		saying(ndjson, "xyz")(w, r)
	})+"\nhandle_errors {\nrespond \"sorry {err.status_code}\"\n}"))
	for _, method := range []string{"GET", "HEAD"} {
		response, text := do(t, ssetest.Client(t, "h1"), method, server.URL("h1", "/"), "")
		if response.StatusCode != http.StatusBadGateway || method == "GET" && text != "sorry 502" {
			t.Errorf("%s: got %d, %q", method, response.StatusCode, text)
		}
		for _, name := range []string{"Content-Encoding", "Etag", "X-Upstream", "Incremental"} {
			if value := response.Header.Get(name); value != "" {
				t.Errorf("%s: header %s: %s has stayed", method, name, value)
			}
		}
	}
}

// A pipe that the test's client writes compressed bytes to, as they come, and reads text from.
func decompress(encoding string, from io.Reader) (io.Reader, error) {
	if encoding == "zstd" {
		return zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	}
	return gzip.NewReader(from)
}

func TestEventsArriveLiveUnderEncode(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	server := ssetest.Start(t, site("retry 2s", "encode gzip zstd\nreverse_proxy "+ssetest.Upstream(t, upstream.ServeHTTP)))
	for _, encoding := range []string{"gzip", "zstd"} {
		for _, protocol := range ssetest.Protocols {
			r, _ := http.NewRequest("GET", server.URL(protocol, "/"), nil)
			r.Header.Set("Accept-Encoding", encoding)
			response, err := ssetest.Client(t, protocol).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if response.Header.Get("Content-Encoding") != encoding || response.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("%s over %s: header %v", encoding, protocol, response.Header)
			}
			plain, err := decompress(encoding, response.Body)
			if err != nil {
				t.Fatal(err)
			}
			want := func(text string) {
				t.Helper()
				got := make([]byte, len(text))
				if _, err := io.ReadFull(plain, got); string(got) != text || err != nil {
					t.Fatalf("%s over %s: got %q, %v", encoding, protocol, got, err)
				}
			}
			want("retry: 2000\n:\n")
			for _, record := range ssetest.Records(3) {
				upstream.say(record + "\n")
				want("data: " + record + "\n\n")
			}
			_ = response.Body.Close()
			<-upstream.left
		}
	}
}

func TestAFileOfRecordsIsStreamed(t *testing.T) {
	ssetest.NoLeaks(t)
	records := ssetest.Records(500)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "records.ndjson"), []byte(strings.Join(records, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := ssetest.Start(t, site("", "header /records.ndjson Content-Type "+ndjson+"\nroot "+root+"\nfile_server"))
	for _, protocol := range ssetest.Protocols {
		response, text := do(t, ssetest.Client(t, protocol), "GET", server.URL(protocol, "/records.ndjson"), "")
		if events := ssetest.ParseAll([]byte(text)); len(events) != 500 || events[499].Data != records[499] || response.Header.Get("Accept-Ranges")+response.Header.Get("Etag") != "" {
			t.Errorf("%s: %d events, header %v", protocol, len(events), response.Header)
		}
		// A part of the file would be the raw records.
		response, text = do(t, ssetest.Client(t, protocol), "GET", server.URL(protocol, "/records.ndjson"), "", ssetest.With("Range", "bytes=0-4"))
		if response.StatusCode != http.StatusOK || len(ssetest.ParseAll([]byte(text))) != 500 {
			t.Errorf("%s: a range is answered with %d %.99q", protocol, response.StatusCode, text)
		}
		response, _ = do(t, ssetest.Client(t, protocol), "HEAD", server.URL(protocol, "/records.ndjson"), "")
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.ContentLength > 0 {
			t.Errorf("%s: HEAD is answered with %v", protocol, response)
		}
	}
}

func TestAHandlerThatBreaksOffLeavesNothingBehind(t *testing.T) {
	ssetest.NoLeaks(t)
	var mu sync.Mutex
	happens := func(http.ResponseWriter) {}
	server := ssetest.Start(t, site("", nextHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		happens(w)
	})))
	for name, what := range map[string]func(http.ResponseWriter){
		"aborts at once": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"panics at once": func(http.ResponseWriter) { panic("test") },
		"aborts what passes": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(bytes.Repeat([]byte("x"), 10_000))
			panic(http.ErrAbortHandler)
		},
		"panics in a stream": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "1\n")
			panic("test")
		},
		"panics in a compressed stream": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusOK)
			panic("test")
		},
	} {
		mu.Lock()
		happens = what
		mu.Unlock()
		response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/"))
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client sees a whole response: %v", name, response)
		}
		ssetest.Wait(t, "the stream to be forgotten", func() bool { return len(stream.All()) == 0 })
	}
}

func TestTheNextHandlersOwnContentTypeDecides(t *testing.T) {
	ssetest.NoLeaks(t)
	server := ssetest.Start(t, ssetest.Site("header Content-Type text/event-stream\nsse\n"+
		"reverse_proxy "+ssetest.Upstream(t, saying(ndjson, "1\n"))))
	response, text := do(t, ssetest.Client(t, "h1"), "GET", server.URL("h1", "/"), "")
	if types := response.Header["Content-Type"]; len(types) != 1 || text != ":\ndata: 1\n\n" {
		t.Errorf("got %q of %q", text, types)
	}
}
