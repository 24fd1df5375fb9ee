// Command nchan is a publisher for nchan. It reads the emitter's feed and posts each record, over one connection.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/feed"
)

func main() {
	target := flag.String("publish", "", "URL of the nchan_publisher location")
	source := flag.String("feed", "", "TCP address of the emitter")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := feed.Read(ctx, *source, func(record []byte) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, *target, bytes.NewReader(record))
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("nchan answered %s", response.Status)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		slog.Error("nchan publisher", "error", err)
		os.Exit(1)
	}
}
