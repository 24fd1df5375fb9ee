// Command gosse is a hub with tmaxmax/go-sse, and a publisher that reads the emitter's feed.
package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

func main() {
	listen := flag.String("listen", "", "address to serve subscribers on")
	source := flag.String("feed", "", "TCP address of the emitter")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// Without this, it would send the header section with the first event, and a client of a silent feed would wait for it.
	hub := &sse.Server{OnSession: func(w http.ResponseWriter, _ *http.Request) ([]string, bool) {
		w.Header().Set("Content-Type", "text/event-stream")
		return []string{sse.DefaultTopic}, http.NewResponseController(w).Flush() == nil
	}}
	server := &http.Server{Addr: *listen, Handler: hub}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		m := &sse.Message{}
		m.AppendComment("")
		for range time.Tick(5 * time.Second) {
			_ = hub.Publish(m)
		}
	}()
	go func() {
		err := feed.Read(ctx, *source, func(record []byte) error {
			m := &sse.Message{}
			m.AppendData(string(record))
			return hub.Publish(m)
		})
		slog.Info("the feed ended", "error", err)
	}()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		slog.Error("go-sse", "error", err)
		os.Exit(1)
	}
}
