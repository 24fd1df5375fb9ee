package redis

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
)

func TestTLS(t *testing.T) {
	cert, key := storestest.Certificate(t, "redis.test")
	s := newServer(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	s.args = append(s.args, "--port", "0", "--tls-port", s.port)
	s.start()
	url := strings.Replace(s.url(), "redis:", "rediss:", 1)

	both := storeoptions.TLS{CA: cert, ClientCert: cert, ClientKey: key, ServerName: "redis.test"}
	o := open(t, url, func(s *Store) { s.TLS = &both })
	o.awaitUp(t)
	storestest.Add(t, o.Log("a"), 0, "one")

	noCA, noName, noCert := both, both, both
	noCA.CA = ""
	noName.ServerName = ""
	noCert.ClientCert, noCert.ClientKey = "", ""
	for change, options := range map[string]*storeoptions.TLS{"ca": &noCA, "server_name": &noName, "client_cert": &noCert} {
		o := open(t, url, func(s *Store) { s.TLS = options })
		err := o.await(t, "it is refused", func(err error) bool { return errors.Is(err, store.ErrRefused) })
		if !strings.Contains(err.Error(), change) {
			t.Errorf("without %s: %v", change, err)
		}
	}
}
