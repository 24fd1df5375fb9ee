package history

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func benchEntry() Entry {
	return Entry{ID: []byte("k3v9x2-1000"), Bytes: append(bytes.Repeat([]byte("d"), 198), "\n\n"...), Event: true}
}

func BenchmarkAppend(b *testing.B) {
	l, e := New(Limits{Count: 256, Size: 1 << 20}), benchEntry()
	b.ReportAllocs()
	for b.Loop() {
		e.Seq++
		l.Append(e)
		l.Publish()
	}
}

type nobody struct{}

func (nobody) Wake() {}

// BenchmarkDeliverInline: append, publish, then every subscriber takes the
// event and parks, all in one goroutine: the cost of the log itself.
func BenchmarkDeliverInline(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, e := New(Limits{Count: 256, Size: 1 << 20}), benchEntry()
			subscribers := make([]*Subscriber, n)
			for i := range subscribers {
				subscribers[i] = l.Subscribe(0, nobody{})
				subscribers[i].Next()
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Seq++
				l.Append(e)
				l.Publish()
				for _, s := range subscribers {
					if s.Next().State != Ready || s.Next().State != Parked {
						b.Fatal("not one event")
					}
				}
			}
			perDelivery(b, n)
		})
	}
}

// BenchmarkDeliverWoken: a goroutine per subscriber, woken through a channel.
// The next event is appended when the last subscriber has taken this one.
func BenchmarkDeliverWoken(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, e := New(Limits{Count: 256, Size: 1 << 20}), benchEntry()
			var left atomic.Int64
			var running sync.WaitGroup
			done := make(chan struct{})
			for range n {
				wake := make(signal, 1)
				s := l.Subscribe(0, wake)
				running.Go(func() {
					defer s.Close()
					for {
						switch batch := s.Next(); batch.State {
						case Ready:
							if left.Add(-int64(batch.Events)) == 0 {
								done <- struct{}{}
							}
						case Parked:
							<-wake
						default:
							return
						}
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Seq++
				left.Store(int64(n))
				l.Append(e)
				l.Publish()
				<-done
			}
			b.StopTimer()
			l.Close()
			running.Wait()
			perDelivery(b, n)
		})
	}
}

func perDelivery(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
}

// BenchmarkAfterID looks for an id that is not there: the worst a client can ask.
func BenchmarkAfterID(b *testing.B) {
	for _, n := range []int{256, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := New(Limits{Count: n, Size: 1 << 30})
			for i := range n {
				l.Append(Entry{ID: fmt.Appendf(nil, "k3v9x2-%08d", i), Bytes: []byte("x"), Event: true})
			}
			l.Publish()
			for id := strings.Repeat("9", 15); b.Loop(); {
				l.AfterID(id)
			}
		})
	}
}
