package loopback

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestOnLoopbackNoPageOfAnotherSiteIsServed(t *testing.T) {
	guard := &Guard{Hosts: []string{"127.0.0.5", "localhost", "127.0.0.1", "::1"}}
	for _, c := range []struct {
		host, origin string
		served       bool
	}{
		{"localhost:8080", "", true},
		{"LOCALHOST:8080", "", true},
		{"localhost", "", true},
		{"127.0.0.1:8080", "", true},
		{"127.0.0.5:8080", "", true},
		{"[::1]:8080", "", true},
		{"localhost:9999", "", true}, // a forwarded port
		{"localhost:8080", "http://localhost:8080", true},
		{"localhost:8080", "http://127.0.0.1:8080", true},
		{"localhost", "http://localhost", true},
		{"[::1]:8080", "http://[::1]:8080", true},

		{"evil.example:8080", "", false},
		{"evil.example", "", false},
		{"localhost.evil.example:8080", "", false},
		{"127.0.0.1.evil.example:8080", "", false},
		{"evil.example:8080", "http://evil.example:8080", false},
		{"192.168.1.5:8080", "", false},
		{"", "", false},
		{"localhost:8080", "http://evil.example", false},
		{"localhost:8080", "http://localhost:3000", false},
		{"localhost:8080", "http://localhost", false},
		{"localhost:8080", "https://localhost:8080", false},
		{"localhost:8080", "null", false},
		{"localhost:8080", "http://localhost:8080.evil.example", false},
		{"localhost:8080", "http://evil.example:8080", false},
		{"localhost:8080", "://", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/events", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		served := false
		err := guard.ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			served = true
			return nil
		}))
		var refusal caddyhttp.HandlerError
		if served != c.served || served != (err == nil) || !served && (!errors.As(err, &refusal) || refusal.StatusCode != http.StatusForbidden) {
			t.Errorf("host %q, origin %q: served %t, %v", c.host, c.origin, served, err)
		}
	}
}

func TestLoopbackAddressesAreThoseOfThisMachineAlone(t *testing.T) {
	for address, want := range map[string]bool{
		"localhost:8080": true, "127.0.0.1:8080": true, "127.8.9.1:1": true, "[::1]:8080": true, "LocalHost:0": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.168.1.5:80": false, "example.com:80": false,
		"unix//run/x.sock": false, "localhost.example.com:80": false,
	} {
		parsed, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 8080)
		if err != nil {
			t.Fatal(err)
		}
		if got := Is(parsed); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}
