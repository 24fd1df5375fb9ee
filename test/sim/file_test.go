package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// logFile is a log that is written, rotated, copied and truncated.
type logFile struct {
	*upstreams
	path   string
	conn   *connection
	random *rand.Rand

	out    *os.File
	n      int
	copies int
}

// rotated is the number of rotated files that are kept.
const rotated = 8

// write writes until ctx ends.
func (f *logFile) write(ctx context.Context) error {
	if err := f.open(); err != nil {
		return err
	}
	defer func() { f.out.Close() }()
	for sinceRotation := time.Now(); ; {
		if err := f.burst(); err != nil {
			return err
		}
		if time.Since(sinceRotation) > 300*time.Millisecond && f.random.IntN(20) == 0 {
			if err := f.rotate(); err != nil {
				return err
			}
			sinceRotation = time.Now()
		}
		pause := time.Duration(f.random.ExpFloat64() * float64(30*time.Millisecond) / f.busy)
		select {
		case <-ctx.Done():
			return nil
		case <-f.quiet:
			return nil
		case <-time.After(pause):
		}
	}
}

func (f *logFile) open() (err error) {
	f.out, err = os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return err
}

// burst writes some lines in pieces that may end anywhere.
func (f *logFile) burst() error {
	var text string
	for range pick(f.random, 1, 1, 2, 5, 20) {
		f.n++
		text += record{f.conn.tag, f.conn.id, f.n}.text() + "\n"
	}
	f.conn.say(f.n)
	if cut := f.random.IntN(len(text)); f.random.IntN(4) == 0 {
		if _, err := f.out.WriteString(text[:cut]); err != nil {
			return err
		}
		text = text[cut:]
		time.Sleep(time.Millisecond)
	}
	_, err := f.out.WriteString(text)
	return err
}

// rotate does one of the things that happen to logs.
func (f *logFile) rotate() error {
	switch what := f.random.IntN(8); {
	case what < 3: // rename, and write to the old file for a while
		if err := f.shift(); err != nil {
			return err
		}
		if err := os.Rename(f.path, f.path+".1"); err != nil {
			return err
		}
		if f.random.IntN(2) == 0 {
			if err := f.burst(); err != nil {
				return err
			}
		}
		f.out.Close()
		return f.open()
	case what < 5: // copy and truncate
		if err := f.shift(); err != nil {
			return err
		}
		if err := f.copy(f.path, f.path+".1"); err != nil {
			return err
		}
		return f.out.Truncate(0)
	case what < 6: // truncate
		f.conn.cut(f.n)
		return f.out.Truncate(0)
	case what < 7: // remove; a client that reads an older file never sees it
		f.conn.cut(f.n)
		if err := os.Remove(f.path); err != nil {
			return err
		}
		f.out.Close()
		return f.open()
	default: // copy the log or a rotated file
		f.copies++
		name := fmt.Sprintf("%s.%d", f.path, 20260000+f.copies)
		if f.random.IntN(2) == 0 {
			name = fmt.Sprintf("%s.%d", f.path, rotated+1+f.random.IntN(3))
		}
		err := f.copy(pick(f.random, f.path, f.path+".1", f.path+".2"), name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
}

// shift renames the rotated files, so that the name of the first one is free.
func (f *logFile) shift() error {
	for i := rotated; i > 0; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", f.path, i), fmt.Sprintf("%s.%d", f.path, i+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *logFile) copy(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
