package nats_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

func TestTLS(t *testing.T) {
	cert, key := storestest.Certificate(t, "nats.test")
	s := startServer(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, cert))
	both := storeoptions.TLS{CA: cert, ClientCert: cert, ClientKey: key, ServerName: "nats.test"}
	for _, scheme := range []string{"nats:", "tls:"} {
		o := openURLs(t, []string{strings.Replace(s.url(), "nats:", scheme, 1)}, func(s *nats.Store) { s.TLS = &both })
		o.awaitUp(t)
		storestest.Add(t, o.Log(strings.Trim(scheme, ":")), 0, "one")
	}

	noCA, noName, noCert := both, both, both
	noCA.CA = ""
	noName.ServerName = ""
	noCert.ClientCert, noCert.ClientKey = "", ""
	for change, options := range map[string]*storeoptions.TLS{"ca": &noCA, "server_name": &noName, "client_cert": &noCert} {
		o := open(t, []*server{s}, func(s *nats.Store) { s.TLS = options })
		if err := o.awaitRefused(t); !strings.Contains(err.Error(), change) {
			t.Errorf("without %s: %v", change, err)
		}
	}
	if err := open(t, []*server{s}).awaitRefused(t); !strings.Contains(err.Error(), "tls") {
		t.Errorf("without tls: %v", err)
	}
}

func TestTLSThatTheServerDoesNotHave(t *testing.T) {
	o := open(t, []*server{startServer(t)}, func(s *nats.Store) { s.TLS = new(storeoptions.TLS) })
	if err := o.awaitRefused(t); !strings.Contains(err.Error(), "TLS") {
		t.Errorf("it is reported that %v", err)
	}
}
