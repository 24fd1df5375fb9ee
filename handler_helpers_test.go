package sse_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// script is an upstream that sends the pieces that a test gives it.
type script struct {
	contentType string
	header      http.Header   // additional headers
	pieces      chan string   // closed: a clean end; abort: the connection breaks
	left        chan struct{} // a value for each request that was cancelled
	unflushed   bool          // as PHP does
}

const abort = "\x00abort"

func newScript(contentType string) *script {
	return &script{contentType: contentType, header: make(http.Header), pieces: make(chan string), left: make(chan struct{}, 1000)}
}

func (u *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	for name, values := range u.header {
		w.Header()[name] = values
	}
	if u.contentType != "" {
		w.Header().Set("Content-Type", u.contentType)
	} else {
		w.Header()["Content-Type"] = nil // or else it is sniffed
	}
	w.WriteHeader(http.StatusOK)
	for flushed := false; ; {
		if !u.unflushed || !flushed {
			_ = http.NewResponseController(w).Flush()
			flushed = true
		}
		select {
		case piece, more := <-u.pieces:
			if !more {
				return
			}
			if piece == abort {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, piece)
		case <-r.Context().Done():
			u.left <- struct{}{}
			return
		}
	}
}

// say makes the upstream send pieces.
func (u *script) say(pieces ...string) {
	for _, piece := range pieces {
		u.pieces <- piece
	}
}

// saying returns an upstream that sends this text and ends.
func saying(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		_, _ = io.WriteString(w, text)
	}
}

// staying returns an upstream that sends this text and stays open.
func staying(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		saying(contentType, text)(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// inProcess are next handlers of the directive `in_process <name>`.
var inProcess sync.Map

func nextHandler(t *testing.T, next http.HandlerFunc) (directive string) {
	name := strings.ReplaceAll(t.Name(), " ", "_")
	inProcess.Store(name, next)
	t.Cleanup(func() { inProcess.Delete(name) })
	return "in_process " + name
}

type inProcessHandler struct {
	Name string `json:"name"`
}

func init() {
	caddy.RegisterModule(inProcessHandler{})
	httpcaddyfile.RegisterHandlerDirective("in_process", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		h.NextArg()
		return inProcessHandler{Name: h.Val()}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("in_process", httpcaddyfile.Before, "reverse_proxy")
}

func (inProcessHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.in_process", New: func() caddy.Module { return new(inProcessHandler) }}
}

// passOn is the header with which such a handler passes a request on to the next one.
const passOn = "Pass-On"

func (h inProcessHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, after caddyhttp.Handler) error {
	next, ok := inProcess.Load(h.Name)
	if !ok {
		return fmt.Errorf("no handler %q", h.Name)
	}
	next.(http.HandlerFunc)(w, r)
	if w.Header().Get(passOn) != "" {
		w.Header().Del(passOn)
		return after.ServeHTTP(w, r)
	}
	return nil
}

// site returns a Caddyfile with one site, which has a log, an sse handler with these options, and an upstream.
func site(options, next string) string {
	return ssetest.Site("log\nlog_append events {http.sse.events}\nlog_append bytes {http.sse.bytes}\nlog_append end_reason {http.sse.end_reason}\nsse {\n" + options + "\n}\n" + next)
}

// get opens a stream over HTTP/1.1. It fails the test if the response is not a stream.
func get(t *testing.T, server *ssetest.Server, path string, options ...func(*http.Request)) *ssetest.Stream {
	t.Helper()
	return getOver(t, server, "h1", path, options...)
}

func getOver(t *testing.T, server *ssetest.Server, protocol, path string, options ...func(*http.Request)) *ssetest.Stream {
	t.Helper()
	s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path), options...)
	if s.Status != http.StatusOK || s.Header.Get("Content-Type") != "text/event-stream" {
		_ = s.WaitEnd()
		t.Fatalf("not an event stream: %v, header %v", s, s.Header)
	}
	return s
}

// wholeBody reads a stream to its clean end.
func wholeBody(t *testing.T, s *ssetest.Stream) string {
	t.Helper()
	if err := s.WaitEnd(); err != nil {
		t.Errorf("the stream was cut off: %v\n%s", err, s)
	}
	return s.Raw()
}

// brokenBody reads a stream to its end, which must be incomplete for the client.
func brokenBody(t *testing.T, s *ssetest.Stream) string {
	t.Helper()
	if err := s.WaitEnd(); err == nil {
		t.Errorf("the client takes the stream for a whole one\n%s", s)
	}
	return s.Raw()
}

// framesOf returns the stream from a site whose upstream sends text, without the comment at the beginning.
func framesOf(t *testing.T, options, contentType, text string, requestOptions ...func(*http.Request)) string {
	t.Helper()
	server := ssetest.Start(t, site(options, "reverse_proxy "+ssetest.Upstream(t, saying(contentType, text))))
	defer server.Stop()
	s := get(t, server, "/", requestOptions...)
	if err := s.WaitEnd(); (err != nil) != strings.Contains(s.Raw(), "event: "+frame.TypeError+"\n") {
		t.Errorf("ended with %v: %s", err, s)
	}
	frames, ok := strings.CutPrefix(s.Raw(), ":\n")
	if !ok {
		t.Errorf("no opening comment before %q", frames)
	}
	return frames
}

// waitAccessLog waits for the line about path in the access log.
func waitAccessLog(server *ssetest.Server, path string) ssetest.Log {
	return server.WaitLog("the request for "+path, func(l ssetest.Log) bool {
		request, _ := l.Fields["request"].(map[string]any)
		return l.Message == "handled request" && request["uri"] == path
	})
}

// wantQuiet fails the test if there is a log line at warn or above.
func wantQuiet(t *testing.T, server *ssetest.Server) {
	t.Helper()
	for _, l := range server.Logs() {
		if strings.HasPrefix(l.Logger, "http.") && !slices.Contains([]string{"debug", "info"}, l.Level) {
			t.Errorf("logged: %v", l.Fields)
		}
	}
}

const caddyCommandEnv = "SSE_TEST_CADDY_COMMAND"

// caddyCommand is the command caddy, which this test's own program can be, too: to build it takes long. Its files are in
// the folder.
func caddyCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, append([]string{"-test.run=^TestCaddyCommand$", "--"}, args...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), caddyCommandEnv+"=1", "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return command
}

func TestCaddyCommand(t *testing.T) {
	if os.Getenv(caddyCommandEnv) == "" {
		return // it is for caddyCommand
	}
	os.Args = append([]string{"caddy"}, flag.Args()...)
	caddycmd.Main()
}
