package nats_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

func TestALongHistoryIsReadWholeWhateverTheSizeOfItsMessages(t *testing.T) {
	o := open(t, []*server{startServer(t)})
	o.awaitUp(t)
	l := o.Log("a")
	var pos store.Pos
	var want []string
	for i := range 700 {
		size := 10
		if i >= 100 && i < 110 {
			size = largest - 4
		}
		want = append(want, fmt.Sprintf("%3d %s", i, strings.Repeat("x", size)))
		pos = storestest.Add(t, l, pos, want[i])
	}
	messages, _ := storestest.Follow(t, l, 0)
	for i := range want {
		if m := storestest.Next(t, messages); string(m.Data) != want[i] {
			t.Fatalf("message %d is %.20q", i, m.Data)
		}
	}
	more := strings.Repeat("y", largest)
	storestest.Add(t, l, pos, more)
	if m := storestest.Next(t, messages); string(m.Data) != more {
		t.Errorf("%.20q is read", m.Data)
	}
}

// Each follower has its own pace, and those of one process share a connection. The servers may differ.
func TestManyFollowTheSameAndOtherLogsAtDifferentServers(t *testing.T) {
	servers := startCluster(t)
	const logs, followers, messages = 5, 3, 50
	var all []<-chan store.Message
	var stores []opened
	for i := range 3 {
		o := open(t, servers[i:i+1], three)
		o.awaitUp(t)
		stores = append(stores, o)
	}
	for i := range logs * followers {
		c, _ := storestest.Follow(t, stores[i/logs].Log(fmt.Sprint("log", i%logs)), 0)
		all = append(all, c)
	}
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			l := stores[i%3].Log(fmt.Sprint("log", i))
			var pos store.Pos
			for j := range messages {
				var err error
				if pos, err = l.Append(t.Context(), pos, fmt.Append(nil, i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, c := range all {
		for j := range messages {
			if m := storestest.Next(t, c); string(m.Data) != fmt.Sprint(i%logs, j) {
				t.Fatalf("follower %d: message %d is %q", i, j, m.Data)
			}
		}
	}
}

// What has no place is lost. The follower learns of it from the next message, or from the length of the stream.
func TestAFollowerThatIsTooSlowMissesNothing(t *testing.T) {
	o := open(t, []*server{startServer(t)})
	o.awaitUp(t)
	for _, more := range []int{0, 1, 1, 1} {
		l := o.Log(fmt.Sprint("a", rand.Uint64()))
		const all = 2000 // more than wait for it
		goOn, begun := make(chan struct{}), make(chan struct{})
		got := make(chan store.Message, all+more)
		ended := make(chan error, 1)
		go func() {
			ended <- l.Follow(t.Context(), 0, func(m store.Message) error {
				if got <- m; string(m.Data) == "1" {
					close(begun)
					<-goOn
				}
				return nil
			})
		}()
		pos := storestest.Add(t, l, 0, "0")
		storestest.Eventually(t, "it has the first", func() bool { return len(got) > 0 })
		time.Sleep(100 * time.Millisecond) // it has read all that there is now, unless the machine is slow
		pos = storestest.Add(t, l, pos, "1")
		storestest.Next(t, begun)
		for i := 2; i < all; i++ {
			pos = storestest.Add(t, l, pos, fmt.Sprint(i))
		}
		close(goOn)
		if more > 0 {
			storestest.Eventually(t, "it has what waited", func() bool { return len(got) > 100 || len(ended) > 0 })
			storestest.Add(t, l, pos, fmt.Sprint(all))
		}
		for i := range all + more {
			if m := storestest.Next(t, got); string(m.Data) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Data)
			}
		}
		if len(ended) > 0 {
			t.Errorf("Follow returns %v", <-ended)
		}
	}
}

func TestALogIsGoneOnceItsNewestMessageIsTooOld(t *testing.T) {
	s := startServer(t)
	o := open(t, []*server{s}, func(s *nats.Store) { s.KeepAge = caddy.Duration(time.Second) })
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	storestest.Eventually(t, "the log is empty", func() bool {
		_, err := l.Head(t.Context())
		return err != nil && strings.Contains(err.Error(), store.ErrEmpty.Error())
	})
	messages, _ := storestest.Follow(t, l, first)
	if second := storestest.Add(t, l, 0, "two"); second <= first {
		t.Errorf("the place %d comes after %d", second, first)
	}
	if m := storestest.Next(t, messages); string(m.Data) != "two" {
		t.Errorf("%q is read", m.Data)
	}
}
