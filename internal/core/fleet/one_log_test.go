package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// partly is a store in which one log always fails.
type partly struct{ store.Store }

func (p partly) Log(name string) store.Log {
	if name == "bad" {
		return badLog{}
	}
	return p.Store.Log(name)
}

type badLog struct{}

var errBad = errors.New("the store does not have this log")

func (badLog) Head(context.Context) (store.Message, error) { return store.Message{}, errBad }
func (badLog) Append(context.Context, store.Pos, []byte) (store.Pos, error) {
	return 0, errBad
}
func (badLog) Follow(context.Context, store.Pos, func(store.Message) error) error { return errBad }
func (badLog) Trim(context.Context, store.Pos) error                              { return errBad }

// A log that fails for good says nothing of the others.
func TestASourceWhoseLogFailsKeepsNoOtherFromBeingTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(rand.New(rand.NewPCG(1, 1)))
		e.calm = true
		settings := store.Settings{Count: 100, Size: 1 << 20, Age: time.Hour, Lease: 2500 * time.Millisecond}
		w := &world{t: t, engine: e, rng: rand.New(rand.NewPCG(1, 1)), resumes: true, began: time.Now(), content: make(map[string]string)}
		first := w.start("first")
		time.Sleep(2 * time.Second)
		conn := e.connect()
		f := New(partly{conn}, settings, nobody{})
		second := &process{world: w, name: "second", conn: conn, values: make(map[string]int), gaps: make(map[string]string), wants: true}
		good, bad := f.Join("log", second, false, 0), f.Join("bad", new(short), false, 0)
		time.Sleep(5 * time.Second)
		if good.Status().Leads {
			t.Error("it leads beside another process")
		}
		first.kill()
		time.Sleep(2 * settings.Lease)
		if !good.Status().Leads {
			t.Error("it does not take over from a process that is gone")
		}
		good.Leave()
		bad.Leave()
		f.Close()
	})
}
