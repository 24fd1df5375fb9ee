package sse_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// hostileRecords has a record that the config sends, and one that it filters out.
const hostileRecords = `{"public":true,"text":"SHOWN"}` + "\n" + `{"public":false,"text":"HIDDEN"}` + "\n"

const hostileOptions = "where record.public\ndata {record.text}"

// obliging is an upstream that does everything that a request can ask for.
func obliging(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		_, _ = io.Copy(io.Discard, r.Body) // or reverse_proxy has a data race with itself, over HTTP/2
	}
	if strings.Contains(r.Header.Get("Connection"), "Upgrade") {
		w.Header().Set("X-Upgrade", r.Header.Get("Upgrade"))
		if strings.HasPrefix(r.Header.Get("Upgrade"), "h2c") {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
			w.WriteHeader(http.StatusSwitchingProtocols)
			if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(connection, hostileRecords)
				_ = connection.Close()
			}
			return
		}
	}
	if r.Header.Get("A-Im") != "" {
		w.Header().Set("Content-Type", ndjson)
		w.WriteHeader(http.StatusIMUsed)
		_, _ = io.WriteString(w, hostileRecords)
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "ndjson") { // a page, or a stream of its own, for others
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: HIDDEN\n\n")
		return
	}
	w.Header().Set("Content-Type", ndjson)
	if r.Header.Get("If-Range") != "" && r.Header.Get("Range") != "" {
		w.Header()["Content-Type"] = nil // RFC 9110 §15.3.7: who has a part knows it
	}
	w.Header().Set("Etag", `"1"`)
	http.ServeContent(w, r, "", time.Unix(1_000_000, 0), strings.NewReader(hostileRecords))
}

// hostile has requests with which a client tries to get another response than the config allows.
var hostile = map[string]func(*http.Request){
	"nothing":              func(*http.Request) {},
	"upgrade":              headers("Connection", "upgrade", "Upgrade", "x"),
	"upgrade to websocket": headers("Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
	"upgrade to h2c":       headers("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Http2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
	"upgrade to two":       headers("Connection", "Upgrade", "Upgrade", "h2c, websocket"),
	"upgrade to HTTP":      headers("Connection", "Upgrade", "Upgrade", "HTTP/2.0"),
	"range":                headers("Range", "bytes=0-"),
	"last bytes":           headers("Range", "bytes=-10"),
	"ranges":               headers("Range", "bytes=0-3,5-"),
	"range out of reach":   headers("Range", "bytes=100000-"),
	"if-range":             headers("Range", "bytes=0-", "If-Range", `"1"`),
	"delta":                headers("A-IM", "feed"),
	"connection accept":    headers("Connection", "accept, Accept-Encoding, last-event-id, close"),
	"connection twice":     func(r *http.Request) { r.Header["Connection"] = []string{"close", "Accept"} },
	"expect":               headers("Expect", "100-continue"),
	"te":                   headers("Te", "trailers"),
	"encodings":            headers("Accept-Encoding", "br, zstd, gzip, *"),
	"no-transform":         headers("Cache-Control", "no-transform, only-if-cached, max-stale"),
	"method override":      headers("X-HTTP-Method-Override", "CONNECT", "X-Method-Override", "HEAD", "X-HTTP-Method", "OPTIONS"),
	"rewritten URL":        headers("X-Original-URL", "/other", "X-Rewrite-URL", "/other"),
	"prefer":               headers("Prefer", "respond-async, return=minimal"),
	"underscores":          headers("If_None_Match", "*", "Accept_Encoding", "gzip"),
	"incremental":          headers("Incremental", "?1"),
	"accelerated":          headers("X-Accel-Buffering", "yes", "X-Sendfile-Type", "X-Accel-Redirect"),
	"early data":           headers("Early-Data", "1", "Upgrade-Insecure-Requests", "1", "Save-Data", "on"),
	"digest":               headers("Want-Digest", "sha-256", "Want-Content-Digest", "sha-256=1"),
	"trailer":              headers("Trailer", "Range, Accept"),
	"destination":          headers("Sec-Fetch-Dest", "video", "Sec-Fetch-Mode", "no-cors"),
	"query":                func(r *http.Request) { r.URL.RawQuery = "lastEventId=x&lastEventId=&Accept=*/*&_method=CONNECT" },
	"method QUERY":         func(r *http.Request) { r.Method = "QUERY" },
	"POST with an upgrade": func(r *http.Request) { r.Method = "POST"; headers("Connection", "Upgrade", "Upgrade", "x")(r) },
	"POST with a range":    func(r *http.Request) { r.Method = "POST"; headers("Range", "bytes=0-")(r) },
	"GET with body and range": func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1
		headers("Range", "bytes=0-")(r)
	},
	"if-none-match":       headers("If-None-Match", "*"),
	"if-match":            headers("If-Match", `"other"`),
	"if-modified-since":   headers("If-Modified-Since", "Tue, 24 Nov 2026 14:10:57 GMT"),
	"if-unmodified-since": headers("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"),
	"range and condition": headers("Range", "bytes=0-", "If-None-Match", `"1"`, "If-Modified-Since", "Tue, 24 Nov 2026 14:10:57 GMT"),
}

// mayBeRefused reports whether such a request gets no stream even without a filter.
func mayBeRefused(r *http.Request, path string, status int) bool {
	switch status {
	case http.StatusMethodNotAllowed:
		return path == "/file" && r.Method != http.MethodGet
	case http.StatusBadGateway:
		return path == "/proxied" && r.Header.Get("Upgrade") != "" // HTTP/2 knows no upgrade
	case http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return r.Header.Get("Accept") == "*/*" // it might be for a page of the site that the client has already
	default:
		return false
	}
}

func headers(pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		for pair := range slices.Chunk(pairs, 2) {
			r.Header.Set(pair[0], pair[1])
		}
	}
}

// startHostile starts a server that serves the records in all ways, and returns the paths.
func startHostile(t *testing.T) (server *ssetest.Server, paths []string) {
	t.Helper()
	t.Cleanup(share.CloseAll)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "records.ndjson"), []byte(hostileRecords), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { _ = fcgi.Serve(listener, http.HandlerFunc(obliging)) }()
	ways := []string{
		"/proxy", hostileOptions, "reverse_proxy " + ssetest.Upstream(t, obliging),
		"/proxied", hostileOptions, "reverse_proxy h2c://" + ssetest.UpstreamH2C(t, obliging),
		"/file", hostileOptions, "rewrite * /records.ndjson\nfile_server {\nroot " + dir + "\n}",
		"/php", hostileOptions, "reverse_proxy " + listener.Addr().String() + " {\ntransport fastcgi\n}",
		"/respond", hostileOptions, "header Content-Type " + ndjson + "\nrespond <<END\n" + hostileRecords + "END",
		"/routes", hostileOptions, "handle {\nrewrite * /sub{uri}\nreverse_proxy " + ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sub/routes" {
				obliging(w, r)
			}
		}) + "\n}\nhandle /other {\nrespond other\n}",
		"/backend", "end done\n" + hostileOptions + "\nbackend exec sh -c `cat " + dir + "/records.ndjson`", "reverse_proxy " + ssetest.Upstream(t, obliging),
		"/shared", "end done\n" + hostileOptions + "\nshare {\nreplay 10\n}", "reverse_proxy " + ssetest.Upstream(t, obliging),
	}
	var routes strings.Builder
	for way := range slices.Chunk(ways, 3) {
		fmt.Fprintf(&routes, "handle %s {\nsse {\n%s\n}\n%s\n}\n", way[0], way[1], way[2])
		paths = append(paths, way[0])
	}
	return ssetest.Start(t, ssetest.Site("header Content-Type "+ndjson+"\n"+routes.String())), paths
}

func TestWhateverAClientSendsItGetsTheStreamThatTheConfigPromises(t *testing.T) {
	ssetest.NoLeaks(t)
	server, paths := startHostile(t)
	for _, protocol := range []string{"h1", "h2", "h3"} {
		client := ssetest.Client(t, protocol)
		for _, accept := range []string{"text/event-stream", "*/*"} {
			for name, change := range hostile {
				for _, path := range paths {
					ctx, cancel := context.WithTimeout(context.Background(), 2*ssetest.Patience) // a stream that nobody expects never ends
					r, err := http.NewRequestWithContext(ctx, "GET", server.URL(protocol, path), nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Accept", accept)
					change(r)
					if protocol != "h1" {
						r.Header.Del("Connection") // not sent over these, nor is Upgrade
						r.Header.Del("Upgrade")
					}
					response, err := client.Do(r)
					if err != nil {
						t.Fatalf("%s %s with %s: %v", protocol, path, name, err)
					}
					text, _ := io.ReadAll(response.Body)
					_ = response.Body.Close()
					overdue := ctx.Err() != nil
					cancel()
					about := fmt.Sprintf("%s %s as %s with %s", protocol, path, accept, name)
					if overdue {
						t.Fatalf("%s: status %d, not over after %v, %q", about, response.StatusCode, 2*ssetest.Patience, text)
					}
					if strings.Contains(string(text), "HIDDEN") || strings.Contains(string(text), "public") {
						t.Errorf("%s: status %d, the client sees %q", about, response.StatusCode, text)
					}
					if response.StatusCode == http.StatusOK && strings.Contains(string(text), "data: SHOWN\n\n") || mayBeRefused(r, path, response.StatusCode) {
						continue
					}
					t.Errorf("%s: status %d, %q", about, response.StatusCode, text)
				}
			}
		}
	}
}

func TestWhateverAClientSendsItIsRefusedAsTheConfigSays(t *testing.T) {
	ssetest.NoLeaks(t)
	var asked atomic.Int32
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/full" {
			staying(ndjson, "1\n")(w, r)
		}
		obliging(w, r)
	})
	server := ssetest.Start(t, ssetest.Site("handle /strict {\nsse {\naccept strict\n}\nreverse_proxy "+upstream+"\n}\n"+
		"handle /full {\nsse {\nmax_streams 1\n}\nreverse_proxy "+upstream+"\n}"))
	get(t, server, "/full").WaitEvents(1)
	getOver(t, server, "h2", "/full").WaitEvents(1) // each server counts for itself
	for _, protocol := range []string{"h1", "h2", "h3"} {
		client := ssetest.Client(t, protocol)
		for name, change := range hostile {
			for path, want := range map[string]int{"/strict": http.StatusNotAcceptable, "/full": http.StatusServiceUnavailable} {
				response, _ := do(t, client, "GET", server.URL(protocol, path), "", func(r *http.Request) {
					r.Header.Set("Accept", "*/*")
					change(r)
					if protocol != "h1" {
						r.Header.Del("Connection")
						r.Header.Del("Upgrade")
					}
				})
				if response.StatusCode != want {
					t.Fatalf("%s %s with %s: status %d, want %d", protocol, path, name, response.StatusCode, want)
				}
			}
		}
	}
	if asked.Load() != 2 {
		t.Errorf("the upstream was asked %d times, want twice", asked.Load())
	}
}

func TestWhatElseASiteShowsCanBeReadInPartsAndConditionally(t *testing.T) {
	ssetest.NoLeaks(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "picture.jpg"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := ssetest.Start(t, site("", "file_server {\nroot "+dir+"\n}"))
	for _, protocol := range ssetest.Protocols {
		client := ssetest.Client(t, protocol)
		response, text := do(t, client, "GET", server.URL(protocol, "/picture.jpg"), "", headers("Range", "bytes=2-4"))
		if response.StatusCode != http.StatusPartialContent || text != "234" {
			t.Errorf("%s, a part: status %d, %q", protocol, response.StatusCode, text)
		}
		response, _ = do(t, client, "GET", server.URL(protocol, "/picture.jpg"), "", headers("If-None-Match", response.Header.Get("Etag")))
		if response.StatusCode != http.StatusNotModified {
			t.Errorf("%s, what the client has already: status %d", protocol, response.StatusCode)
		}
	}
}

// CONNECT over HTTP/1, and the extended CONNECT (RFC 9220) that WebSockets over HTTP/3 begin with.
func TestConnectIsATunnelOnlyIfTheUpstreamSaysSo(t *testing.T) {
	ssetest.NoLeaks(t)
	server, paths := startHostile(t)
	client := ssetest.Client(t, "h3")
	var asking sync.WaitGroup
	for _, path := range paths {
		for _, protocol := range []string{"websocket", "connect-udp", "HTTP/3.0"} {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second) // an upstream may wait for a request's end, which is never
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, "CONNECT", server.URL("h3", path), nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Proto = protocol
				r.Header.Set("Accept", "*/*")
				response, err := client.Do(r)
				if err != nil {
					return
				}
				text, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if strings.Contains(string(text), "HIDDEN") {
					t.Errorf("h3 %s %s: status %d, the client sees %q", protocol, path, response.StatusCode, text)
				}
			})
		}
		asking.Go(func() {
			connection, err := net.Dial("tcp", server.Addr("http"))
			if err != nil {
				t.Error(err)
				return
			}
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(time.Second))
			fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
			if text, _ := io.ReadAll(connection); strings.Contains(string(text), "HIDDEN") {
				t.Errorf("h1 %s: the client sees %q", path, text)
			}
		})
	}
	asking.Wait()
}
