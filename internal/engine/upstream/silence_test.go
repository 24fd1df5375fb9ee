package upstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// watch watches an upstream that may be silent for a minute, and returns how often it was ended.
func watch(t *testing.T, upstream func(*Silence)) (ended int, err error) {
	synctest.Test(t, func(*testing.T) {
		s := (&Config{Timeout: time.Minute}).WatchSilence(func() { ended++ })
		upstream(s)
		synctest.Wait()
		err = s.Stop(errors.New("its own"))
		time.Sleep(time.Hour)
	})
	return ended, err
}

func TestSilenceIsWhatIsNotInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		upstream func(*Silence)
		ended    int
	}{
		"silent from the beginning": {func(*Silence) { time.Sleep(time.Minute) }, 1},
		"silent after a while": {func(s *Silence) {
			time.Sleep(50 * time.Second)
			s.Takes()
			s.Taken()
			time.Sleep(time.Minute)
		}, 1},
		"not quite long enough": {func(s *Silence) {
			for range 5 {
				time.Sleep(59 * time.Second)
				s.Takes()
				s.Taken()
			}
			time.Sleep(59 * time.Second)
		}, 0},
		"a client that sends meanwhile": {func(s *Silence) {
			time.Sleep(50 * time.Second)
			s.Heard()
			time.Sleep(59 * time.Second)
		}, 0},
		"silent after a client has sent": {func(s *Silence) {
			s.Heard()
			time.Sleep(time.Minute)
		}, 1},
		"a client that takes its time": {func(s *Silence) {
			s.Takes()
			time.Sleep(10 * time.Minute)
			s.Taken()
			time.Sleep(59 * time.Second)
		}, 0},
		"silent after such a client": {func(s *Silence) {
			s.Takes()
			time.Sleep(90 * time.Second)
			s.Taken()
			time.Sleep(time.Minute)
		}, 1},
		"of several senders, one is slow to be taken": {func(s *Silence) {
			s.Takes()
			s.Takes()
			s.Taken()
			time.Sleep(2 * time.Minute)
			s.Taken()
		}, 0},
	} {
		ended, err := watch(t, c.upstream)
		if ended != c.ended || errors.Is(err, ErrSilent) != (c.ended > 0) {
			t.Errorf("%s: ended %d times, with %v", name, ended, err)
		}
	}
}
