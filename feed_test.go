package sse

import (
	"fmt"
	"sync"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/history"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// While the records of a read are mapped, which may take as long as an expression does, nobody waits but the upstream.
func TestAReadThatTakesLongHoldsUpNeitherOtherClientsNorTheAdminAPI(t *testing.T) {
	server, u := sharing(t, "share {\nreplay 1\n}")
	first := get(t, server, "/")
	u.wait(t, 1)
	u.say("1\n")
	wantEvents(t, first, "1")
	src := theSource(t)
	src.mapping.Lock()
	unlock := sync.OnceFunc(src.mapping.Unlock)
	defer unlock() // or the server could not stop, if somebody has to wait
	second := get(t, server, "/")
	wantEvents(t, second, "1")
	ssetest.Within(t, "the admin API", func() {
		if got := src.info().Records; got != 1 {
			t.Errorf("the admin API shows %d records, want 1", got)
		}
	})
	second.Close()
	ssetest.Wait(t, "one stream", func() bool { return src.info().Streams == 1 })
	unlock()
	u.say("2\n")
	wantEvents(t, first, "1 2")
}

func TestClientsGetEventsWhileAnotherMappingIsMadeOfALongHistory(t *testing.T) {
	u := newHub(t)
	route := func(path, data string) string {
		return "handle " + path + " {\nsse {\nbackend test_hub " + u.name + "\ndata " + data + "{record}\nshare {\nreplay 9\n}\n}\n}\n"
	}
	server := startSharing(t, ssetest.Site(route("/a", "a")+route("/b", "b")))
	a := get(t, server, "/a")
	u.wait(t, 1)
	u.say("1\n")
	wantEvents(t, a, "a1")
	src := theSource(t)
	src.making.Lock()
	unlock := sync.OnceFunc(src.making.Unlock)
	b, client := make(chan *ssetest.Stream, 1), ssetest.Client(t, "h1")
	go func() {
		defer close(b)
		b <- ssetest.Get(t, client, server.URL("h1", "/b"))
	}()
	opened := sync.OnceValue(func() *ssetest.Stream { unlock(); return <-b })
	defer opened()
	u.say("2\n")
	wantEvents(t, a, "a1 a2")
	wantEvents(t, get(t, server, "/a"), "a1 a2")
	wantEvents(t, opened(), "b1 b2")
}

// A feed is made while the upstream goes on; the records that come meanwhile are in it once, too.
func TestAMappingThatIsNewGetsEachRecordOnceWhileTheUpstreamGoesOn(t *testing.T) {
	config := func(data string, history int) *shareServer {
		return provisioned(t, &Handler{Data: &data, Share: &Share{History: history, HistorySize: 1 << 30}}).share
	}
	for _, kept := range []int{100, 20_000} {
		src := newSource(config("{record}", kept), "", nil)
		in := upstream.NewInput(src, src.server.upstream.Options(""), nil)
		stop := make(chan struct{})
		var speaking sync.WaitGroup
		speaking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					_, _ = in.Write([]byte("x\nx\nx\n"))
				}
			}
		})
		for i := range 20 {
			f := src.feedFor(config(fmt.Sprint(i)+" {record}", kept), 1)
			ssetest.Wait(t, "records", func() bool { return f.frames.Stats().Events > kept/2 })
			reader := f.frames.Subscribe(f.frames.Oldest(), idle{})
			var last uint64
			for entries, state, _ := reader.NextEntries(nil); state == history.Ready; entries, state, _ = reader.NextEntries(nil) {
				for _, e := range entries {
					if last != 0 && e.Seq != last+1 {
						t.Fatalf("record %d follows %d", e.Seq, last)
					}
					last = e.Seq
				}
				if last > uint64(kept) {
					break
				}
			}
			reader.Close()
			src.leave(f)
		}
		close(stop)
		speaking.Wait()
	}
}
