package file

import (
	"context"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"github.com/seed-4dedbcea/caddy-sse/modules/file/internal/follow"
)

func init() { fileKey.have = true } // the contexts of most tests have no storage

func TestFileIDsOutliveARestartOfTheServer(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	first, err := storedKey(context.Background(), storage)
	if err != nil || first == (follow.Key{}) {
		t.Fatalf("got %x, %v", first, err)
	}
	if again, err := storedKey(context.Background(), storage); err != nil || again != first {
		t.Errorf("got %x after %x, %v", again, first, err)
	}
	broken := &certmagic.FileStorage{Path: "/dev/null"}
	if _, err := storedKey(context.Background(), broken); err == nil {
		t.Error("a storage that cannot be written to is no error")
	}
}

func TestFileIDThatTheServerHasNotMadeIsUnknown(t *testing.T) {
	u := upstreamtest.Upstream(t, "file /var/log/app.log", "").(*upstream)
	made := string(follow.NewIDs(u.backend.key, u.path).Append(nil, follow.Position{Generation: "a.0.00000000", Offset: 5}))
	if !u.CanResume(made) {
		t.Errorf("%s is unknown", made)
	}
	for _, id := range []string{"a.0.00000000-5", "a.0.00000000-6" + made[len("a.0.00000000-5"):]} {
		if u.CanResume(id) {
			t.Errorf("%s is known", id)
		}
	}
}
