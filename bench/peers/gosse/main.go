// Command gosse is a hub made of tmaxmax/go-sse with a publisher that reads the
// emitter's feed.
package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/tmaxmax/go-sse"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

func main() {
	listen := flag.String("listen", "", "address to serve subscribers on")
	source := flag.String("feed", "", "TCP address of the emitter")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	hub := &sse.Server{}
	server := &http.Server{Addr: *listen, Handler: hub}
	context.AfterFunc(ctx, func() { server.Close() })
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
