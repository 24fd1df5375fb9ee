package http

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/httpbody"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

// echoRequest answers with the request.
func echoRequest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s [%s]", r.Method, r.Host, r.RequestURI, body)
}

func serveHTTP(t *testing.T, handler http.HandlerFunc) (url, host string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, strings.TrimPrefix(server.URL, "http://")
}

func TestHTTPValuesStayInTheirPlace(t *testing.T) {
	url, host := serveHTTP(t, echoRequest)
	t.Setenv("SSE_TEST_URL", url)
	for _, test := range []struct{ text, query, lastID, want string }{
		{"http " + url + "/events", "", "", "GET " + host + " /events []"},
		{"http " + url + "?a=b", "", "", "GET " + host + " /?a=b []"},
		{"http {env.SSE_TEST_URL}/x?since={last_id}", "", "a&b=c d/1", "GET " + host + " /x?since=a%26b%3Dc+d%2F1 []"},
		{"http " + url + "/{query.x}/end?q={query.x}", "x=a/b%3Fc%23{last_id}", "9", "GET " + host + " /a%2Fb%3Fc%23%7Blast_id%7D/end?q=a%2Fb%3Fc%23%7Blast_id%7D []"},
		{"http " + url + "/{query.x_escaped}/end?q={query.x_escaped}", "x_escaped=a/b%3Fc%26d%3De", "", "GET " + host + " /a%2Fb%3Fc&d=e/end?q=a%2Fb%3Fc%26d%3De []"},
		{"http " + url + "/a {\n body `{\"after\":\"{last_id}\",\"x\":\"{query.x}\"}`\n}", "x={last_id}", "7", "POST " + host + ` /a [{"after":"7","x":"{last_id}"}]`},
		{"http " + url + "/a {\n method put\n header Host {query.x}\n}", "x=example.com", "", "PUT example.com /a []"},
	} {
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, test.text, test.query), test.lastID)
		if err := r.Wait(t); err != nil || r.Text() != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.text, r.Text(), err, test.want)
		}
	}
}

func TestHTTPAsksForTheRequestsOwnPathAndQuery(t *testing.T) {
	server, host := serveHTTP(t, echoRequest)
	const path, query = "/a/b%20c%3Fd%2fe", "x=1+2&y=%26#z"
	for address, want := range map[string]string{
		"{http.request.uri}":                                       path + "?x=1+2&y=%26%23z",
		"/base{http.request.orig_uri}":                             "/base" + path + "?x=1+2&y=%26%23z",
		"{http.request.uri.path}":                                  "/a/b%20c%3Fd/e",
		"/base{http.request.uri.path}/end":                         "/base/a/b%20c%3Fd/e/end",
		"{http.request.uri.path.dir}x":                             "/a/b%20c%3Fd/x",
		"/s/{http.request.uri.path.1}":                             "/s/b%20c%3Fd",
		"/?{http.request.uri.query}":                               "/?x=1+2&y=%26%23z",
		"/?z={http.request.uri.query.x}&{http.request.uri.query}":  "/?z=1+2&x=1+2&y=%26%23z",
		"{http.request.uri.prefixed_query}":                        "/?x=1+2&y=%26%23z",
		"{http.request.uri.path}{http.request.uri.prefixed_query}": "/a/b%20c%3Fd/e?x=1+2&y=%26%23z",
		"/?next={http.request.uri.path_escaped}":                   "/?next=%2Fa%2Fb+c%3Fd%2Fe",
		"/{http.request.uri.path_escaped}":                         "/%2Fa%2Fb+c%3Fd%2Fe",
	} {
		request := upstreamtest.Request(path + "?" + query)
		u, err := upstreamtest.Backend(t, "http "+server+address).Bind(request)
		if err != nil {
			t.Fatal(err)
		}
		r := upstreamtest.Run(t, u, "")
		if err := r.Wait(t); err != nil || r.Text() != "GET "+host+" "+want+" []" {
			t.Errorf("%s: got %q, %v, want %s", address, r.Text(), err, want)
		}
	}

	u, err := upstreamtest.Backend(t, "http "+server+"/base{http.request.uri}").Bind(upstreamtest.Request("/..%2fx"))
	if err == nil {
		err = u.Stream(context.Background(), "", new(backendtest.Tape))
	}
	if upstreamtest.Status(err) != 400 {
		t.Errorf("a path that leads upwards: got %v, want a 400", err)
	}

	// A path that another handler has rewritten does not extend the host.
	request := upstreamtest.Request("/")
	request.URL.Path = ".evil.test"
	u, err = upstreamtest.Backend(t, "http "+server+"{http.request.uri.path}").Bind(request)
	if err != nil {
		t.Fatal(err)
	}
	r := upstreamtest.Run(t, u, "")
	if err := r.Wait(t); err != nil || r.Text() != "GET "+host+" /.evil.test []" {
		t.Errorf("a path without a slash: got %q, %v", r.Text(), err)
	}
}

func TestHTTPRefusesValuesThatLeaveTheirPlace(t *testing.T) {
	for _, test := range []struct{ text, query string }{
		{"http http://localhost:1/a/{query.x}/b", "x=.."},
		{"http http://{query.x}.internal:1/", "x=evil.test/a"},
		{"http http://{query.x}.internal:1/", "x=evil.test%3Fa"},
		{"http http://a@{query.x}:1/", "x=me@evil.test"},
		{"http http://localhost:1/ {\n header A {query.x}\n}", "x=a%0d%0aB:c"},
		{"http http://localhost:1/ {\n header A {query.x}\n}", "x=%7f"},
		{"http http://localhost:1/ {\n header A {last_id}\n}", ""},
	} {
		u, err := upstreamtest.Backend(t, test.text).Bind(upstreamtest.Request("/?" + test.query))
		if err == nil {
			err = u.Stream(context.Background(), "1\r\nB: c", new(backendtest.Tape))
		}
		if upstreamtest.Status(err) != 400 {
			t.Errorf("%s with %s: got %v, want a 400", test.text, test.query, err)
		}
	}
}

func TestHTTPHeaders(t *testing.T) {
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	headers := func(text string) (h http.Header) {
		request := upstreamtest.Request("/?x=1")
		request.Header.Set("Cookie", "secret")
		u, err := upstreamtest.Backend(t, text).Bind(request)
		if err != nil {
			t.Fatal(err)
		}
		r := upstreamtest.Run(t, u, "")
		if err := r.Wait(t); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(r.Text()), &h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := headers("http " + url); h.Get("Accept") != httpbody.AcceptRecords || h.Get("Accept-Encoding") != "identity" || h.Get("Cookie") != "" {
		t.Errorf("asked with %v", h)
	}
	if h := headers("http " + strings.Replace(url, "//", "//me:secret@", 1)); h.Get("Authorization") != "Basic bWU6c2VjcmV0" {
		t.Errorf("asked with %v", h)
	}
	h := headers("http " + url + " {\n header accept text/plain\n header X {query.x}\n header X 2\n header Accept-Encoding gzip\n}")
	if h.Get("Accept") != "text/plain" || fmt.Sprint(h["X"]) != "[1 2]" || h.Get("Accept-Encoding") != "gzip" {
		t.Errorf("asked with %v", h)
	}
}

func TestHTTPStatusOtherThan200IsABadGateway(t *testing.T) {
	var status int
	var contentType string
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil // net/http would guess one
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("a\n"))
	})
	for _, test := range []struct {
		status      int
		contentType string
		ok          bool
	}{
		{200, "application/vnd.x+json; charset=utf-8", true}, {200, "", true},
		{201, "application/x-ndjson", false}, {302, "application/x-ndjson", false}, {404, "application/json", false}, {503, "application/json", false},
	} {
		status, contentType = test.status, test.contentType
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http "+url, ""), "")
		err := r.Wait(t)
		switch {
		case test.ok:
			if err != nil || r.Text() != "a\n" || r.Types()[0] != contentType {
				t.Errorf("%v: got %q of %q, %v", test, r.Text(), r.Types(), err)
			}
		case upstreamtest.Status(err) != 502 || !strings.Contains(err.Error(), fmt.Sprint(test.status)) || len(r.Types()) > 0:
			t.Errorf("%v: got %v", test, err)
		}
	}
}

func TestHTTPDecodesGzip(t *testing.T) {
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/plain")
		z := gzip.NewWriter(w)
		_, _ = z.Write([]byte("a\nb\n"))
		_ = z.Close()
	})
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http "+url, ""), "")
	if err := r.Wait(t); err != nil || r.Text() != "a\nb\n" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
}

func TestHTTPRecordsComeAtOnceAndEndWithTheStream(t *testing.T) {
	gone := make(chan struct{}, 1)
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("a\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	})
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http "+url, ""), "")
	r.Hears(t, "a\n")
	r.Stop()
	r.Wait(t)
	<-gone
}

func TestHTTPManyRecordsAreFewWrites(t *testing.T) {
	record := bytes.Repeat([]byte("x"), 199)
	record = append(record, '\n')
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat(record, 40000))
	})
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http "+url, ""), "")
	if err := r.Wait(t); err != nil || len(r.Text()) != 8_000_000 {
		t.Fatalf("got %d bytes, %v", len(r.Text()), err)
	}
	if writes := r.Writes(); writes > 4000 {
		t.Errorf("%d writes for 40000 records", writes)
	}
}

func TestHTTPFailures(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http http://"+listener.Addr().String(), ""), "")
	if err := r.Wait(t); upstreamtest.Status(err) != 502 {
		t.Errorf("refused: got %v", err)
	}

	silent := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	r = upstreamtest.Run(t, upstreamtest.Upstream(t, "http http://"+silent+" {\n transport http {\n response_header_timeout 50ms\n}\n}", ""), "")
	if err := r.Wait(t); upstreamtest.Status(err) != 504 {
		t.Errorf("timed out: got %v", err)
	}

	hidden := reverseproxy.NewDialError(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	if err := roundTripError(hidden); upstreamtest.Status(err) != 504 {
		t.Errorf("connecting timed out: got %v", err)
	}

	cut := make(chan struct{})
	broken := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4<<10))
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na\nhalf"))
		<-cut
	})
	r = upstreamtest.Run(t, upstreamtest.Upstream(t, "http http://"+broken, ""), "")
	r.Hears(t, "a\nhalf")
	close(cut)
	if err := r.Wait(t); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken off: got %v", err)
	}
}

func TestHTTPUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(echoRequest)}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	t.Setenv("SSE_TEST_SOCKET", path)
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	for _, address := range []string{path, "/{env.SSE_TEST_SOCKET}"} {
		address = "/" + strings.TrimLeft(address, "/")
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, "http http://unix/"+address+":/v1/events?x=a:/b", ""), "")
		if err := r.Wait(t); err != nil || r.Text() != "GET localhost /v1/events?x=a:/b []" {
			t.Errorf("%s: got %q, %v", address, r.Text(), err)
		}
	}
}

func TestHTTPLeavesNothingBehind(t *testing.T) {
	url, _ := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("a\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	u := upstreamtest.Upstream(t, "http "+url, "")
	upstreamtest.LeavesNothing(t, func() { upstreamtest.OpenAndStop(t, u, 200, "a\n") })
}

func TestHTTPIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "a line\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		t.Cleanup(server.Close)
		return upstreamtest.Backend(t, "http "+server.URL)
	})
}
