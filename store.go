package sse

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stores"
	"github.com/seed-4dedbcea/caddy-sse/store"
)

// storeNamespace is the Caddy module namespace of stores: `store redis` loads the module storeNamespace + ".redis".
const storeNamespace = "http.sse.stores"

// errStoreOfStdin says why standard input cannot be shared by processes.
var errStoreOfStdin = errors.New("share: a store cannot be used with backend stdin: each process has its own standard input")

// storesStdin reports whether the config would put standard input in a store.
func (h *Handler) storesStdin() bool {
	return h.Share != nil && h.Share.StoreRaw != nil && h.backend != nil && backendName(h.backend) == "stdin"
}

// connectStore connects to the config's store, if it has one. It does not wait for it.
func (h *Handler) connectStore(ctx caddy.Context) error {
	if h.Share == nil || h.Share.StoreRaw == nil {
		return nil
	}
	if h.storesStdin() {
		return errStoreOfStdin
	}
	loaded, err := ctx.LoadModule(h.Share, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	module, ok := loaded.(store.Module)
	if !ok {
		return fmt.Errorf("loading store: %T is no store: it must implement store.Module", loaded)
	}
	if err := metrics.RegisterStores(ctx); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	h.store, err = stores.Connect(loaded.(caddy.Module).CaddyModule().ID.Name(), module, h.logger)
	return err
}

// parseStore takes the store's name; its module takes the rest.
func parseStore(d *caddyfile.Dispenser) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule(storeNamespace + "." + name); err != nil {
		return nil, d.Errf("there is no store %q in this build: it has %s", name, storeNames())
	}
	module, err := caddyfile.UnmarshalModule(d, storeNamespace+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(store.Module); !ok {
		return nil, d.Errf("module %s.%s is not a store, but a %T", storeNamespace, name, module)
	}
	return caddyconfig.JSONModuleObject(module, "name", name, nil), nil
}

// storeNames names the stores of this build, and says how another gets there.
func storeNames() string {
	var names []string
	for _, module := range caddy.GetModules(storeNamespace) {
		names = append(names, module.ID.Name())
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	return strings.Join(names, ", ") + " (add one with xcaddy build --with github.com/seed-4dedbcea/caddy-sse/stores/nats, or stores/redis)"
}
