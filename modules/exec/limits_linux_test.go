package exec

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestExecStreamsTakeNoThreadsOfTheServer(t *testing.T) {
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	u := upstreamtest.Upstream(t, "exec sh -c `echo up; exec sleep 1000`", "")
	upstreamtest.Run(t, u, "").Hears(t, "up\n")
	before := threads()
	const streams = 100
	for range streams {
		upstreamtest.Run(t, u, "").Hears(t, "up\n")
	}
	if more := threads() - before; more > streams/4 {
		t.Errorf("%d streams take %d threads", streams, more)
	}
}

func TestTaskRoomKeepsAReserve(t *testing.T) {
	used, looks := 100, 0
	room := taskRoom{measure: func() []taskLimit {
		looks++
		return []taskLimit{{name: "wide", max: 1000}, {name: "narrow", max: 200, used: used}}
	}}
	now := time.Now()
	for used < 150 {
		if err := room.take(now); err != nil {
			t.Fatalf("refused at %d of 200: %v", used, err)
		}
		used++
	}
	if looks > 20 {
		t.Errorf("looked %d times for 50 commands", looks)
	}
	looks = 0
	for range 100 {
		if err := room.take(now); !isNoRoom(err) || !strings.Contains(err.Error(), "narrow") {
			t.Fatalf("got %v", err)
		}
	}
	if looks > 1 {
		t.Errorf("looked %d times for clients that were refused", looks)
	}
	used = 10
	if err := room.take(now.Add(2 * measurementAge)); err != nil {
		t.Errorf("refused when there is room again: %v", err)
	}
}
