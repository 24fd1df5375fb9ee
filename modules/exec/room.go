package exec

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

// taskLimit limits the processes and threads. Once it is reached, the server can start no thread either, and Go's runtime
// aborts: all sites would be down.
type taskLimit struct {
	name      string // what sets it
	max, used int
}

// reserve is how much of the limit commands leave to the server, and to others who share the limit.
func (l taskLimit) reserve() int { return min(l.max/4, 256) }

func (l taskLimit) free() int { return l.max - l.reserve() - l.used }

// taskRoom tells whether there is room for another command. It measures and does not count: a command has processes of its
// own, and others may share the limit. One goroutine uses it at a time.
type taskRoom struct {
	measure func() []taskLimit
	left    int // commands that may start before the limits are looked at again
	tight   taskLimit
	until   time.Time // when the measurement gets too old
}

// measurementAge is how long a measurement counts. Looking at all processes takes time. Clients that are refused must not
// make the server do that over and over.
const measurementAge = time.Second

// take takes room for a command.
func (r *taskRoom) take(now time.Time) error {
	if now.After(r.until) || r.left == 0 && r.tight.free() > 0 {
		r.look(now)
	}
	if r.left == 0 {
		return noRoomError{r.tight}
	}
	r.left--
	return nil
}

func (r *taskRoom) look(now time.Time) {
	r.tight = taskLimit{max: 1 << 30}
	for _, limit := range r.measure() {
		if limit.free() < r.tight.free() {
			r.tight = limit
		}
	}
	r.until = now.Add(measurementAge)
	r.left = 0
	if free := r.tight.free(); free > 0 {
		// The commands that have just started have not yet started all their own processes.
		r.left = 1 + free/4
	}
}

// noRoomError is why a command has not been started.
type noRoomError struct{ limit taskLimit }

func (e noRoomError) Error() string {
	return fmt.Sprintf("%s leaves no room for another command: %d of %d processes and threads are in use, and %d are kept free for the server; raise the limit, or share the stream",
		e.limit.name, e.limit.used, e.limit.max, e.limit.reserve())
}

// isNoRoom reports whether a limit was the reason, ours or the kernel's.
func isNoRoom(err error) bool {
	return errors.As(err, new(noRoomError)) || errors.Is(err, syscall.EAGAIN)
}

// noRoomWarnings is shared by all backends: there is no room for any of their commands.
var noRoomWarnings = ratelog.New(1, time.Hour)
