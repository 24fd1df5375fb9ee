package stream

import (
	"context"
	"testing"
	"time"
)

func TestACheckOfRightsEndsWithItsStream(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	k := &keeper{rights: &Rights{Interval: time.Hour, Refused: func(ctx context.Context) bool {
		close(began)
		<-ctx.Done()
		return false
	}}}
	k.ctx, k.cancel = context.WithCancel(t.Context())
	k.check = time.NewTimer(time.Hour)
	go func() {
		defer close(ended)
		k.look()
	}()
	<-began
	k.end()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the check goes on")
	}
	if k.check.Stop() {
		t.Error("there will be another check")
	}
}
