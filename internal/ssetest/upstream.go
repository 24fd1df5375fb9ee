package ssetest

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Upstream serves handler over HTTP/1.1 on a loopback port and returns its address, host:port. When the test ends, it closes the
// connections, so that a handler that waits for its request's context returns.
func Upstream(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return serve(t, handler, protocols)
}

// UpstreamH2C is Upstream over HTTP/2 without TLS. Its address for reverse_proxy is h2c://host:port.
func UpstreamH2C(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return serve(t, handler, protocols)
}

func serve(t testing.TB, handler http.HandlerFunc, protocols http.Protocols) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64 // open requests
	server := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		handler(w, r)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	// httptest.Server is not used, because it takes five seconds to close an HTTP/2 connection.
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
		Wait(t, "the upstream's handlers to return", func() bool { return open.Load() == 0 })
	})
	return listener.Addr().String()
}

// Records returns n JSON records without line ends, like those in a service's log. They are nested, have different lengths, are not only
// ASCII, and are the same at each call. Joined by "\n", they are NDJSON.
func Records(n int) []string {
	levels := []string{"info", "info", "warn", "error"}
	messages := []string{
		"request served", "Zahlung für Bestellung abgelehnt: Karte ungültig", "cache miss", "naïve retry → backing off",
		"user said \\\"data: hi\\\"\\n\\nand left", "ログインしました 🙂",
	}
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf(
			`{"seq":%d,"time":"2026-01-02T15:%02d:%02d.%03dZ","level":"%s","message":"%s","http":{"method":"GET","path":"/items/%d","status":%d},"took_ms":%d.%d,"tags":["a%d",null,true],"pad":"%s"}`,
			i+1, i/60%60, i%60, i*7%1000, levels[i%len(levels)], messages[i%len(messages)], i*31%997, 200+i%4*100,
			i*13%250, i%10, i%5, strings.Repeat("x", i*37%400))
	}
	return records
}
