package exec

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

// taskLimit is a limit on processes and threads. When it is reached, the server cannot start a thread either. Then Go's runtime aborts,
// and all sites are down.
type taskLimit struct {
	name      string // the setting
	max, used int
}

// reserve returns the part of the limit that commands leave to the server, and to other programs with the same limit.
func (l taskLimit) reserve() int { return min(l.max/4, 256) }

func (l taskLimit) free() int { return l.max - l.reserve() - l.used }

// taskRoom decides whether there is room for another command. It does not count commands, but measures: commands start processes, and
// other programs may have the same limit. Only one goroutine may use it at a time.
type taskRoom struct {
	measure func() []taskLimit
	left    int       // the number of commands that may start before the next measurement
	tight   taskLimit // the limit with the least room
	until   time.Time // when the measurement is too old
}

// measurementAge is how long a measurement is used. It takes time to read the state of all processes, and clients that are refused must
// not make the server do that repeatedly.
const measurementAge = time.Second

// take takes the room for one command, or returns an error if there is none.
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
		// Commands that have just started will start more processes, so only a part of the room is used at once.
		r.left = 1 + free/4
	}
}

// noRoomError is the error for a command that was not started because of a limit.
type noRoomError struct{ limit taskLimit }

func (e noRoomError) Error() string {
	return fmt.Sprintf("%s leaves no room for another command: %d of %d processes and threads are in use, and %d are kept free for the server; raise the limit, or share the stream",
		e.limit.name, e.limit.used, e.limit.max, e.limit.reserve())
}

// isNoRoom reports whether a command was not started because of a limit, ours or the kernel's.
func isNoRoom(err error) bool {
	return errors.As(err, new(noRoomError)) || errors.Is(err, syscall.EAGAIN)
}

// noRoomWarnings is shared by all backends, because the limits are.
var noRoomWarnings = ratelog.New(1, time.Hour)
