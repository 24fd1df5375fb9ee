package pattern

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

var generous = Bounds{Length: math.MaxInt, Size: math.MaxInt, Steps: math.MaxInt, Time: time.Hour}

// A text that has to be read by the clock is matched as any other.
func TestPatternFindsTheSameByTheClock(t *testing.T) {
	timed := generous
	timed.Steps = 0
	for _, expr := range []string{`^(?P<a>\w+) (?P<b>.*)$`, `(a)|(b)`, `ä+(.)`, ``, `^$`, `(x*)*y`} {
		quick, err := Compile(expr, generous)
		if err != nil {
			t.Fatal(err)
		}
		slow, err := Compile(expr, timed)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "a", "ab cd ef", "xxxy", "ääö", "b a", "\uFFFDé"} {
			want, _ := quick.FindGroups([]byte(text))
			got, err := slow.FindGroups([]byte(text))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %q: got %v, %v, want %v", expr, text, got, err, want)
			}
			if found, err := slow.Match(text); err != nil || found != (want != nil) {
				t.Errorf("%s of %q: got %v, %v", expr, text, found, err)
			}
		}
	}
}

func TestPatternBeyondItsBoundsIsAnError(t *testing.T) {
	bounds := Bounds{Length: 20, Size: 900, Steps: 1000, Time: time.Millisecond}
	for expr, want := range map[string]error{strings.Repeat("a", 21): ErrTooLarge, "(a{30}){30}": ErrTooLarge} {
		if _, err := Compile(expr, bounds); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", expr, err, want)
		}
	}
	p, err := Compile("(x*a*y*){90}b", bounds)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a", 1<<20)
	if _, err := p.Match(text); !errors.Is(err, ErrTooSlow) {
		t.Errorf("match: got %v", err)
	}
	if _, err := p.FindGroups([]byte(text)); !errors.Is(err, ErrTooSlow) {
		t.Errorf("groups: got %v", err)
	}
}
