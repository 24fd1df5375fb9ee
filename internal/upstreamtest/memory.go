package upstreamtest

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// WantLittleMemory streams u, which sends a line of 100 MiB and another line. It fails the test if the whole long line was in memory.
func WantLittleMemory(t testing.TB, u backend.Upstream) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sink := new(tally)
	if err := u.Stream(context.Background(), "", sink); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if sink.records != 1 || sink.tooLong != 1 {
		t.Errorf("%d records, %d too long", sink.records, sink.tooLong)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<20 {
		t.Errorf("allocated %d bytes", allocated)
	}
}

// tally is a sink that counts records.
type tally struct {
	mu               sync.Mutex
	records, tooLong int
}

func (s *tally) Open(string) (backend.Input, error) {
	return &tallyInput{to: s, splitter: records.New(records.Options{Format: records.Lines, MaxSize: 1 << 20})}, nil
}

type tallyInput struct {
	to       *tally
	splitter *records.Splitter
}

func (in *tallyInput) Write(p []byte) (int, error) {
	in.splitter.Feed(p)
	in.take()
	return len(p), nil
}

func (in *tallyInput) take() {
	in.to.mu.Lock()
	defer in.to.mu.Unlock()
	for rec := new(records.Record); ; {
		switch in.splitter.Next(rec) {
		case records.NeedMore:
			return
		case records.IsRecord:
			in.to.records++
		case records.IsSkipped:
			in.to.tooLong++
		}
	}
}

func (*tallyInput) End(bool) error                                         { return nil }
func (*tallyInput) SetOffset(int64, func(dst []byte, offset int64) []byte) {}
func (*tallyInput) Gap() error                                             { return nil }
