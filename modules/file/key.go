package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/modules/file/internal/follow"
)

// fileKey is the key that signs the ids in this process.
var fileKey keyHolder

// keyHolder keeps the key while the process runs, because ids must stay valid over a reload.
type keyHolder struct {
	mu   sync.Mutex
	have bool
	key  follow.Key
}

// keyTimeout is how long a config waits for the storage.
const keyTimeout = 10 * time.Second

// get returns the key from Caddy's storage. If the storage fails, it makes a key for this process.
func (h *keyHolder) get(ctx caddy.Context) follow.Key {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.have {
		return h.key
	}
	bounded, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	key, err := storedKey(bounded, ctx.Storage())
	if err != nil {
		ctx.Logger().Warn("ids of files will be unknown after a restart, as their key cannot be stored", zap.Error(err))
		_, _ = rand.Read(key[:]) // crypto/rand never fails
	}
	h.key, h.have = key, true
	return key
}

// keyName is the name of the key in the storage, and that of the lock for making it.
const keyName = "sse/file_ids.key"

// storedKey loads the key. If there is none, it makes and stores one.
func storedKey(ctx context.Context, storage certmagic.Storage) (key follow.Key, err error) {
	if ok, err := loadKey(ctx, storage, &key); ok || err != nil {
		return key, err
	}
	if err := storage.Lock(ctx, keyName); err != nil {
		return key, fmt.Errorf("locking %s in the storage: %w", keyName, err)
	}
	defer func() { err = errors.Join(err, storage.Unlock(context.WithoutCancel(ctx), keyName)) }()
	if ok, err := loadKey(ctx, storage, &key); ok || err != nil { // another server was faster
		return key, err
	}
	_, _ = rand.Read(key[:])
	if err := storage.Store(ctx, keyName, key[:]); err != nil {
		return key, fmt.Errorf("storing %s: %w", keyName, err)
	}
	return key, nil
}

// loadKey loads the key. It reports whether there is a valid one.
func loadKey(ctx context.Context, storage certmagic.Storage, key *follow.Key) (bool, error) {
	stored, err := storage.Load(ctx, keyName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("loading %s: %w", keyName, err)
	}
	return len(stored) == len(key) && copy(key[:], stored) == len(key), nil
}
