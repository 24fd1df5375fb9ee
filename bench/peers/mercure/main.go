// Command mercure is a Mercure hub, in one process with a publisher that reads the emitter's feed.
package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dunglas/mercure"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

const topic = "bench"

func main() {
	listen := flag.String("listen", "", "address to serve subscribers on")
	source := flag.String("feed", "", "TCP address of the emitter")
	flag.Parse()
	if err := run(*listen, *source); err != nil {
		slog.Error("mercure", "error", err)
		os.Exit(1)
	}
}

func run(listen, source string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hub, err := mercure.NewHub(ctx,
		mercure.WithAnonymous(),
		mercure.WithHeartbeat(5*time.Second),
		mercure.WithPublisherJWT([]byte("a key that nobody publishes with!"), "HS256"),
		mercure.WithSubscriberJWT([]byte("a key that nobody subscribes with"), "HS256"),
		mercure.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
	)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: listen, Handler: http.HandlerFunc(hub.SubscribeHandler)}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		err := feed.Read(ctx, source, func(record []byte) error {
			return hub.Publish(ctx, &mercure.Update{Topics: []string{topic}, Event: mercure.Event{Data: string(record)}})
		})
		slog.Info("the feed ended", "error", err)
	}()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}
