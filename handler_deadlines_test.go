package sse_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// withServer puts options in front of a Caddyfile, for all its servers.
func withServer(options, caddyfile string) string {
	return "{\nservers {\n" + options + "\n}\n}\n" + caddyfile
}

func TestServerTimeoutsAndMinimumRatesDoNotEndAStream(t *testing.T) {
	ssetest.NoLeaks(t)
	const records, interval = 10, 500 * time.Millisecond
	slowly := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		for n := 1; ; n++ {
			fmt.Fprintf(w, "data:%d\n\n", n)
			if n == records {
				return
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(interval):
			case <-r.Context().Done():
				return
			}
		}
	}
	address := ssetest.Upstream(t, slowly)
	server := ssetest.Start(t, withServer("timeouts {\nread_body 2s\nread_body_idle 3s 1000000\nwrite 2s\nwrite_idle 3s 1000000\n}",
		site("heartbeat off", "reverse_proxy "+address)))

	var clients sync.WaitGroup
	for _, protocol := range ssetest.Protocols {
		for _, contentType := range []string{"text/plain", "text/event-stream", "text/html"} {
			for _, method := range []string{"GET", "POST"} {
				r, err := http.NewRequest(method, server.URL(protocol, "/?type="+contentType), strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", "text/event-stream")
				s := ssetest.Do(t, ssetest.Client(t, protocol), r)
				name := fmt.Sprintf("%s of %s over %s", method, contentType, protocol)
				start := time.Now()
				clients.Go(func() {
					<-s.Done()
					whole := s.Err() == nil && strings.Contains(s.Raw(), fmt.Sprintf("data:%d\n", records))
					if isStream := contentType != "text/html"; whole != isStream {
						t.Errorf("%s: arrived whole: %t, ended after %v with %v", name, whole, time.Since(start), s.Err())
					}
				})
			}
		}
	}
	clients.Wait()
}

func TestAStreamEndsWholeAfterASilenceLongerThanTheIdleTimeout(t *testing.T) {
	ssetest.NoLeaks(t)
	for name, server := range map[string]string{
		"idle timeouts":    "timeouts {\nwrite_idle 150ms\nread_body_idle 150ms\n}",
		"no idle timeouts": "timeouts {\nwrite_idle -1ns\nread_body_idle -1ns\nwrite 150ms\n}",
		"write timeout":    "timeouts {\nwrite 150ms\n}",
	} {
		for _, stall := range []string{"stall_timeout off", "stall_timeout 150ms"} {
			t.Run(name+" "+stall, func(t *testing.T) {
				const silence = 300 * time.Millisecond // longer than the timeouts
				address := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", ndjson)
					for _, record := range []string{"1\n", "2\n"} {
						_, _ = io.WriteString(w, record)
						_ = http.NewResponseController(w).Flush()
						time.Sleep(silence)
					}
				})
				server := ssetest.Start(t, withServer(server, site("heartbeat off\n"+stall, "reverse_proxy "+address)))
				var streams []*ssetest.Stream
				for _, protocol := range ssetest.Protocols {
					streams = append(streams, getOver(t, server, protocol, "/"))
				}
				for _, s := range streams {
					if raw := wholeBody(t, s); raw != ":\ndata: 1\n\ndata: 2\n\n" {
						t.Errorf("%s: got %q", s.Proto, raw)
					}
				}
			})
		}
	}
}

func TestServerTimeoutsDoNotResetAStreamWhoseHeadersComeLate(t *testing.T) {
	ssetest.NoLeaks(t)
	const timeout = 150 * time.Millisecond
	late := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * timeout)
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, "data:1\n\n")
	})
	for name, idle := range map[string]string{"idle timeouts": "", "no idle timeouts": "write_idle -1ns\nread_body_idle -1ns\n"} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, withServer("timeouts {\nwrite "+timeout.String()+"\n"+idle+"}", site("heartbeat off", "reverse_proxy "+late)))
			for _, protocol := range ssetest.Protocols {
				t.Run(protocol, func(t *testing.T) {
					t.Parallel()
					for _, contentType := range []string{"text/plain", "text/event-stream"} {
						s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, "/?type="+contentType))
						if raw := wholeBody(t, s); !strings.Contains(raw, "data:1\n\n") {
							t.Errorf("%s: got %q", contentType, raw)
						}
					}
					if protocol == "h3" { // where Caddy does not cut it without idle timeouts
						return
					}
					response, err := ssetest.Client(t, protocol).Get(server.URL(protocol, "/?type=text/html"))
					if err == nil {
						_, err = io.ReadAll(response.Body)
						_ = response.Body.Close()
					}
					if err == nil {
						t.Error("a response that is no stream is not cut by the write timeout")
					}
				})
			}
		})
	}
}

func TestATimeoutsDirectiveDoesNotCutOffTheEndOfAStream(t *testing.T) {
	ssetest.NoLeaks(t)
	const timeout = 150 * time.Millisecond
	next := "reverse_proxy " + ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		for range 3 {
			_, _ = io.WriteString(w, "1\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(timeout)
		}
	})
	directive := "timeouts {\nwrite_timeout " + timeout.String() + " 1000000\nread_timeout 1m\n}\n"
	for name, routes := range map[string]string{"outside": directive + next, "inside": "handle {\n" + directive + next + "\n}"} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, withServer("timeouts {\nwrite 200ms\n}", site("heartbeat 1ms\nend done", routes)))
			var streams []*ssetest.Stream
			for _, protocol := range ssetest.Protocols {
				streams = append(streams, getOver(t, server, protocol, "/?type=text/plain"))
			}
			for i, protocol := range ssetest.Protocols {
				raw := wholeBody(t, streams[i])
				if events := strings.ReplaceAll(raw, ":\n", ""); events != strings.Repeat("data: 1\n\n", 3)+"event: done\ndata: done\n\n" {
					t.Errorf("%s: got %q", protocol, raw)
				}
			}
		})
		t.Run(name+", of what is no stream", func(t *testing.T) {
			server := ssetest.Start(t, site("", routes))
			response, err := ssetest.Client(t, "h1").Get(server.URL("h1", "/?type=text/html"))
			if err == nil {
				_, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			if err == nil {
				t.Error("a response below the directive's minimum rate arrives whole")
			}
		})
	}
}

func TestAClientThatStopsReadingIsDropped(t *testing.T) {
	ssetest.NoLeaks(t)
	flood := func(contentType string) http.HandlerFunc {
		record := strings.Repeat("x", 10_000) + "\n"
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "data:"+record)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	for name, timeouts := range map[string]string{
		"default":          "",
		"no idle timeouts": "timeouts {\nwrite_idle -1ns\nread_body_idle -1ns\n}",
	} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, withServer(timeouts, site("stall_timeout 2s\nheartbeat 10ms", fmt.Sprintf("reverse_proxy /lines %s\nreverse_proxy /events %s",
				ssetest.Upstream(t, flood("text/plain")), ssetest.Upstream(t, flood("text/event-stream"))))))
			var paths []string // not h1tls: crypto/tls then tries for five seconds to say goodbye
			for _, protocol := range []string{"h1", "h2c", "h2", "h3"} {
				for _, path := range []string{"/lines?", "/events?"} {
					s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path+protocol))
					s.Pause()
					paths = append(paths, path+protocol)
				}
			}
			for _, path := range paths {
				if access := waitAccessLog(server, path); access.Fields["end_reason"] != "client_stalled" {
					t.Errorf("%s ended by %v", path, access.Fields["end_reason"])
				}
			}
		})
	}
}

// On HTTP/1 the kernel's buffers are in between.
func TestAClientThatReadsSlowlyIsNotTakenForOneThatStopped(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ndjson)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 200_000)+"\n")
		}
	})
	server := ssetest.Start(t, site("stall_timeout 2s\nbackend http http://"+upstream, "")) // reverse_proxy has a data race on HTTP/3
	anyCertificate := func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
	h2 := &http.Transport{TLSClientConfig: anyCertificate(), Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}}
	h2.Protocols.SetHTTP2(true)
	defer h2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: anyCertificate(), QUICConfig: &quic.Config{InitialStreamReceiveWindow: 16 << 10, MaxStreamReceiveWindow: 16 << 10}}
	defer h3.Close()

	var reading sync.WaitGroup
	for protocol, transport := range map[string]http.RoundTripper{"h2": h2, "h3": h3} {
		reading.Go(func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL(protocol, "/"), nil)
			request.Header.Set("Accept", "text/event-stream")
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Errorf("%s: %v", protocol, err)
				return
			}
			defer response.Body.Close()
			// 64 KiB take twice the stall timeout.
			for read := 0; read < 96<<10; read += 4 << 10 {
				if _, err := io.CopyN(io.Discard, response.Body, 4<<10); err != nil {
					t.Errorf("%s: after %d bytes: %v", protocol, read, err)
					return
				}
				time.Sleep(250 * time.Millisecond)
			}
		})
	}
	reading.Wait()
}

func TestAClientThatLeavesEndsItsUpstreamQuietly(t *testing.T) {
	ssetest.NoLeaks(t)
	upstream := newScript(ndjson)
	address := ssetest.Upstream(t, upstream.ServeHTTP)
	server := ssetest.Start(t, site("", "reverse_proxy "+address))
	for _, protocol := range ssetest.Protocols {
		for name, leave := range map[string]func(*ssetest.Stream){
			"idle":          func(*ssetest.Stream) {},
			"midrecord":     func(*ssetest.Stream) { upstream.say("{\"half\":") },
			"under_records": func(*ssetest.Stream) { upstream.say("1\n2\n3\n") },
		} {
			path := "/" + name + "?" + protocol
			s := getOver(t, server, protocol, path)
			s.WaitComments(1)
			leave(s)
			s.Close()
			<-upstream.left
			access := waitAccessLog(server, path)
			if access.Fields["end_reason"] != "client_gone" || access.Fields["status"] != 200.0 || access.Fields["duration"] == 0.0 {
				t.Errorf("%s: access log: %v", path, access.Fields)
			}
		}
	}
	wantQuiet(t, server)
}

// Caddy's FastCGI transport learns that a request has ended only by a write that fails.
func TestAClientThatLeavesEndsAFastCGIUpstreamQuietly(t *testing.T) {
	ssetest.NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	left := make(chan struct{})
	go func() {
		_ = fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ndjson)
			for {
				if _, err := io.WriteString(w, "1\n"); err != nil {
					break
				}
				w.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
			left <- struct{}{}
		}))
	}()
	server := ssetest.Start(t, site("", "reverse_proxy "+listener.Addr().String()+" {\ntransport fastcgi\n}"))
	for _, protocol := range ssetest.Protocols {
		s := getOver(t, server, protocol, "/?"+protocol)
		s.WaitEvents(2)
		s.Close()
		<-left
		if access := waitAccessLog(server, "/?"+protocol); access.Fields["end_reason"] != "client_gone" {
			t.Errorf("%s: access log: %v", protocol, access.Fields)
		}
	}
	wantQuiet(t, server)
}

func TestAClientThatLeavesBeforeTheHeadersEndsItsUpstream(t *testing.T) {
	ssetest.NoLeaks(t)
	asked, left := make(chan struct{}), make(chan struct{})
	server := ssetest.Start(t, site("", "reverse_proxy "+ssetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})))
	for _, protocol := range ssetest.Protocols {
		r, _ := http.NewRequest("GET", server.URL(protocol, "/?"+protocol), nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		if response, err := ssetest.Client(t, protocol).Do(r.WithContext(ctx)); err == nil {
			_ = response.Body.Close() // the server has been faster than the cancellation
		}
		<-left
		waitAccessLog(server, "/?"+protocol)
	}
	wantQuiet(t, server)
}

// As those are whose upstream speaks FastCGI and says nothing.
func TestAHandlerThatDoesNotEndIsLeftBehind(t *testing.T) {
	ssetest.NoLeaks(t)
	release, ended := make(chan struct{}), make(chan error)
	next := nextHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-release
		w.Header().Set("X-Late", "1")
		w.WriteHeader(http.StatusTeapot)
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now()); err == nil {
			t.Error("a handler that was left behind can reach the connection")
		}
		_, err := io.WriteString(w, "data: 2\n\n")
		ended <- err
	})
	for name, options := range map[string]string{"own": "drain 1ms", "shared": "drain 1ms\nshare {\nlinger 0s\n}"} {
		t.Run(name, func(t *testing.T) {
			server := ssetest.Start(t, site(options, next))
			var paths []string
			var leaving []*ssetest.Stream
			handlers := 0
			for _, contentType := range []string{ndjson, "text/event-stream"} {
				for _, protocol := range ssetest.Protocols {
					path := "/?type=" + contentType + "&" + protocol
					s := ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path))
					s.WaitEvents(1)
					paths, leaving = append(paths, path), append(leaving, s)
					handlers++
					if name == "shared" {
						continue // a source survives a reload
					}
					ssetest.Get(t, ssetest.Client(t, protocol), server.URL(protocol, path+"&staying")).WaitEvents(1)
					handlers++
				}
			}
			for _, s := range leaving {
				s.Close()
			}
			for _, path := range paths {
				if access := waitAccessLog(server, path); access.Fields["end_reason"] != "client_gone" {
					t.Errorf("%s ended by %v", path, access.Fields["end_reason"])
				}
			}
			server.Reload(ssetest.Site("respond new"))
			ssetest.Wait(t, "the streams to end", func() bool { return len(stream.All()) == 0 })
			for range handlers {
				release <- struct{}{}
				if err := <-ended; err == nil {
					t.Error("a handler that was left behind can write")
				}
			}
			server.Stop()
			wantQuiet(t, server)
		})
	}
}

func TestAHandlerThatDoesNotLookAtItsContextLearnsThatItsClientHasLeft(t *testing.T) {
	ssetest.NoLeaks(t)
	ended := make(chan error)
	server := ssetest.Start(t, site("", nextHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, "1\n"); err != nil {
				ended <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	})))
	s := get(t, server, "/")
	s.WaitEvents(1)
	s.Close()
	<-ended
}
