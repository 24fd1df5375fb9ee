package nats_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

// operator makes the accounts and users of a server that knows them by what is signed.
type operator struct {
	t                 *testing.T
	operator, account nkeys.KeyPair
}

func pair(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// lines returns what a server needs to know, for its config.
func (o *operator) lines() string {
	var operator, account string
	o.operator, operator = pair(o.t, nkeys.CreateOperator)
	o.account, account = pair(o.t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(account)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	signed, err := claims.Encode(o.operator)
	if err != nil {
		o.t.Fatal(err)
	}
	_, system := pair(o.t, nkeys.CreateAccount)
	signedSystem, err := jwt.NewAccountClaims(system).Encode(o.operator)
	if err != nil {
		o.t.Fatal(err)
	}
	own, err := jwt.NewOperatorClaims(operator).Encode(o.operator)
	if err != nil {
		o.t.Fatal(err)
	}
	return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }",
		own, system, account, signed, system, signedSystem)
}

// credentials writes a file for a user that may connect for some time.
func (o *operator) credentials(file string, valid time.Duration) {
	o.t.Helper()
	user, public := pair(o.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	claims.Expires = time.Now().Add(valid).Unix()
	signed, err := claims.Encode(o.account)
	if err != nil {
		o.t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		o.t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(signed, seed)
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func TestCredentialsThatExpireAreReadAgain(t *testing.T) {
	op := &operator{t: t}
	s := startServer(t, op.lines())
	file := filepath.Join(t.TempDir(), "user.creds")
	op.credentials(file, 10*time.Second) // in which it connects, also on a slow machine
	o := open(t, []*server{s}, func(s *nats.Store) { s.Credentials = file })
	o.awaitUp(t)
	storestest.Add(t, o.Log("a"), 0, "one")
	if err := o.awaitRefused(t); !strings.Contains(err.Error(), "credentials") {
		t.Errorf("once they have expired, it is reported that %v", err)
	}
	op.credentials(file, time.Hour)
	o.awaitUp(t)
}
