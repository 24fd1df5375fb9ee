package compress

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// kinds of events, 2,000 of each.
var kinds = map[string][][]byte{
	"ticks 180 B": many(func(r *rand.Rand, n int) string {
		symbol := []string{"AAPL", "MSFT", "GOOG", "AMZN", "TSLA", "NVDA", "META", "NFLX"}[r.IntN(8)]
		price := func() float64 { return r.Float64() * 1000 }
		return fmt.Sprintf(`{"symbol":"%s","price":%.2f,"volume":%d,"bid":%.2f,"ask":%.2f,"time":"2026-11-25T09:%02d:%02d.%06dZ","sequence":%d}`,
			symbol, price(), r.IntN(100_000), price(), price(), n/600%60, n/10%60, r.IntN(1_000_000), 1000+n)
	}),
	"tokens 180 B": many(func(r *rand.Rand, n int) string {
		words := strings.Fields("the an answer of model comes word by word and each is in its own event with all that is the same again")
		return fmt.Sprintf(`{"id":"chatcmpl-9abcDEF123","object":"chat.completion.chunk","created":1763860000,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" %s"},"finish_reason":null}]}`,
			words[r.IntN(len(words))])
	}),
	"logs 380 B": many(func(r *rand.Rand, n int) string {
		path := []string{"/", "/api/v1/users", "/api/v1/items?page=", "/static/app.js", "/healthz", "/login"}[r.IntN(6)]
		return fmt.Sprintf(`{"level":"info","ts":%.7f,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"%d.%d.%d.%d","proto":"HTTP/2.0","method":"GET","host":"example.com","uri":"%s%d","headers":{"User-Agent":["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"]}},"bytes_read":0,"duration":%.9f,"size":%d,"status":%d}`,
			1763860000+float64(n)*0.37, r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256), path, r.IntN(1000), r.Float64()/10, r.IntN(100_000), []int{200, 200, 304, 404}[r.IntN(4)])
	}),
	"books 2.2 KB": many(func(r *rand.Rand, n int) string {
		side := func() string {
			var levels []string
			for range 40 {
				levels = append(levels, fmt.Sprintf(`["%.2f","%.4f"]`, 60_000+r.Float64()*100, r.Float64()*10))
			}
			return strings.Join(levels, ",")
		}
		return fmt.Sprintf(`{"e":"depthUpdate","E":%d,"s":"BTCUSDT","b":[%s],"a":[%s]}`, 1763860000000+n*100, side(), side())
	}),
}

func many(record func(r *rand.Rand, n int) string) (events [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		events = append(events, fmt.Appendf(nil, "id: mha2k9x3p1ab-%d\ndata: %s\n\n", n+1, record(r, n)))
	}
	return events
}

// BenchmarkHistory compresses each event by itself, with as much of what came before.
func BenchmarkHistory(b *testing.B) {
	for kind, events := range kinds {
		text := bytes.Join(events, nil)
		for _, c := range codings {
			for _, history := range []int{0, 256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10} {
				b.Run(fmt.Sprintf("%s/%s/%d", kind, c, history), func(b *testing.B) {
					var out []byte
					size, done := 0, 0
					for b.Loop() {
						at := 0
						for _, event := range events {
							from := max(0, at-history)
							at += len(event)
							out = c.appendText(out[:0], text[from:at], at-len(event)-from)
							size += len(out)
						}
						done += len(events)
					}
					report(b, size, done)
				})
			}
		}
	}
}

// BenchmarkStateful compresses with one compressor for each client, as Caddy's encode does.
func BenchmarkStateful(b *testing.B) {
	type compressor interface {
		io.Writer
		Flush() error
		Reset(io.Writer)
	}
	z, _ := zstd.NewWriter(nil, zstd.WithWindowSize(128<<10), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	g, _ := gzip.NewWriterLevel(nil, 5)
	for kind, events := range kinds {
		for name, w := range map[string]compressor{"zstd": z, "gzip": g} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				var out bytes.Buffer
				size, done := 0, 0
				for b.Loop() {
					out.Reset()
					w.Reset(&out)
					for _, event := range events {
						_, _ = w.Write(event)
						_ = w.Flush()
					}
					size += out.Len()
					done += len(events)
				}
				report(b, size, done)
			})
		}
	}
}

// BenchmarkJoin is what a client gets for the first events after it has joined a shared stream.
func BenchmarkJoin(b *testing.B) {
	for kind, events := range kinds {
		text := bytes.Join(events, nil)
		for _, c := range codings {
			for _, count := range []int{1, 5, 20, 100} {
				b.Run(fmt.Sprintf("%s/%s/%d", kind, c, count), func(b *testing.B) {
					size, done := 0, 0
					for b.Loop() {
						var s Shared
						e := NewEncoder(c)
						e.begun = true
						const joined = 1000
						at := len(bytes.Join(events[:joined], nil))
						for _, event := range events[joined : joined+count] {
							from := at
							at += len(event)
							size += len(e.AppendShared(nil, &s, Piece{Text: text[:at], Start: from, From: uint64(from), To: uint64(at)}))
						}
						done += count
					}
					report(b, size, done)
				})
			}
		}
	}
}

func report(b *testing.B, size, events int) {
	b.ReportMetric(float64(size)/float64(events), "B/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(0, "ns/op")
}
