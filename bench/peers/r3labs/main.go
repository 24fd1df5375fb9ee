// Command r3labs is a hub with r3labs/sse, and a publisher that reads the emitter's feed.
package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/r3labs/sse/v2"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

const stream = "bench"

func main() {
	listen := flag.String("listen", "", "address to serve subscribers on, with ?stream=bench")
	source := flag.String("feed", "", "TCP address of the emitter")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	hub := sse.New()
	hub.AutoReplay = false // its log of past events has no limit
	hub.CreateStream(stream)
	server := &http.Server{Addr: *listen, Handler: hub}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		err := feed.Read(ctx, *source, func(record []byte) error {
			hub.Publish(stream, &sse.Event{Data: slices.Clone(record)})
			return nil
		})
		slog.Info("the feed ended", "error", err)
	}()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		slog.Error("r3labs", "error", err)
		os.Exit(1)
	}
}
