package sse_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// lines is at least 32 KiB of records of that size, each on its line.
func lines(size int) []byte {
	record := fmt.Sprintf(`{"n":12345678,"t":1795420800123456789,"type":"update","pad":"%s"}`, strings.Repeat("x", size-64))
	return bytes.Repeat([]byte(record+"\n"), 32<<10/(len(record)+1)+1)[:32<<10/(len(record)+1)*(len(record)+1)]
}

// frames is a consumer that makes frames of records and forgets them.
type frames struct {
	mapper *mapping.Mapper
	meters *metrics.Meters
	out    []byte
}

func (f *frames) Begin()                  { f.out = f.out[:0] }
func (f *frames) Counts() *metrics.Meters { return f.meters }
func (f *frames) Record(rec *records.Record) error {
	var r mapping.Result
	f.out, r = f.mapper.Append(f.out, rec, nil)
	f.meters.CountMapped(r)
	return nil
}
func (f *frames) Skipped(string) {}
func (f *frames) Blank()         {}
func (*frames) Retry(int64)      {}
func (*frames) Position([]byte)  {}
func (f *frames) Gap(string)     {}
func (f *frames) Commit() error  { return nil }

// BenchmarkPipeline measures the way of a read's bytes to frames, as often as the least work that is correct: two
// searches and a copy of the same bytes.
func BenchmarkPipeline(b *testing.B) {
	for _, size := range []int{200, 4096} {
		read := lines(size)
		records := bytes.Count(read, []byte("\n"))
		for name, h := range map[string]*sse.Handler{
			"plain":  {},
			"mapped": {Event: "{record.type}", ID: "{record.n}"},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				m, config, err := sse.Engine(h)
				if err != nil {
					b.Fatal(err)
				}
				in := upstream.NewInput(&frames{mapper: m.Bind(caddy.NewReplacer().GetString), meters: config.Report.Meters}, config.Options("application/x-ndjson"), nil)
				b.SetBytes(int64(len(read)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := in.Write(read); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
			})
		}
		b.Run(fmt.Sprintf("least/%d", size), func(b *testing.B) {
			dst := make([]byte, 2*len(read))
			b.SetBytes(int64(len(read)))
			out := dst
			for b.Loop() {
				out = dst[:0]
				for rest := read; len(rest) > 0; {
					end := bytes.IndexByte(rest, '\n')
					if bytes.IndexByte(rest[:end], '\r') < 0 {
						out = append(out, rest[:end]...)
					}
					rest = rest[end+1:]
				}
			}
			if len(out) == 0 {
				b.Fatal("nothing was copied")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
		})
	}
}

// BenchmarkHandler measures one stream at full speed through a real Caddy: plain reverse_proxy of the same bytes, of
// an event stream that the upstream made, and of records that sse makes events of.
func BenchmarkHandler(b *testing.B) {
	read := lines(200)
	records := bytes.Count(read, []byte("\n"))
	var events []byte
	for line := range bytes.Lines(read) {
		events = eventstream.AppendData(events, bytes.TrimSuffix(line, []byte("\n")))
	}
	for _, bench := range []struct{ name, contentType, site string }{
		{"proxy", "application/x-ndjson", "reverse_proxy %s"},
		{"proxy_events", "text/event-stream", "reverse_proxy %s"},
		{"sse", "application/x-ndjson", "sse\nreverse_proxy %s"},
		{"sse_mapped", "application/x-ndjson", "sse {\nevent {record.type}\nid {record.n}\n}\nreverse_proxy %s"},
		{"sse_backend", "application/x-ndjson", "sse {\nbackend http http://%s\n}"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			body := read
			if bench.contentType == "text/event-stream" {
				body = events
			}
			upstream := ssetest.Upstream(b, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", bench.contentType)
				for range b.N {
					if _, err := w.Write(body); err != nil {
						return
					}
				}
			})
			server := ssetest.Start(b, ssetest.Site(fmt.Sprintf(bench.site, upstream)))
			client := ssetest.Client(b, "h1")
			b.SetBytes(int64(len(read)))
			b.ResetTimer()
			response, err := client.Get(server.URL("h1", "/"))
			if err != nil {
				b.Fatal(err)
			}
			defer response.Body.Close()
			if n, err := io.Copy(io.Discard, response.Body); err != nil || n < int64(b.N*len(read)) {
				b.Fatalf("%d bytes: %v", n, err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
		})
	}
}
