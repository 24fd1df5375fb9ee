package nats

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
}

func TestTheCaddyfileBecomesThisJSON(t *testing.T) {
	for text, want := range map[string]string{
		`nats`:                           `{}`,
		`nats nats://h`:                  `{"urls":["nats://h"]}`,
		`nats nats://a:1 nats://{env.B}`: `{"urls":["nats://a:1","nats://{env.B}"]}`,
		`nats tls://h {
			stream S_1
			prefix a.b-c
			replicas 3
			keep 10 1MiB 1h
			lease 2s
			user caddy {env.P}
			tls {
				ca ca.pem
				client_cert cert.pem key.pem
				server_name n
			}
		}`: `{"urls":["tls://h"],"stream":"S_1","prefix":"a.b-c","replicas":3,"user":"caddy","password":"{env.P}",` +
			`"keep":10,"keep_size":1048576,"keep_age":3600000000000,"lease":2000000000,` +
			`"tls":{"ca":"ca.pem","client_cert":"cert.pem","client_key":"key.pem","server_name":"n"}}`,
		"nats {\n credentials f\n}": `{"credentials":"f"}`,
		"nats {\n token t\n}":       `{"token":"t"}`,
		"nats {\n nkey f\n}":        `{"nkey":"f"}`,
	} {
		s, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := json.Marshal(s)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestAMistakeIsAConfigError(t *testing.T) {
	for text, want := range map[string]string{
		`nats ""`:                                      "url: ",
		"nats h:4222":                                  "url: ",
		"nats http://h":                                "url: ",
		"nats nats://":                                 "url: ",
		"nats nats://h/x":                              "url: ",
		"nats nats://h?x=1":                            "url: ",
		"nats nats://h nats://":                        "url: ",
		"nats nats://caddy:secret@h":                   "options user and token",
		"nats nats://:se#cret@h":                       "url: ",
		"nats {\n what\n}":                             "unrecognized subdirective",
		"nats {\n stream\n}":                           "argument",
		"nats {\n stream a.b\n}":                       "stream: ",
		"nats {\n stream a b\n}":                       "argument",
		"nats {\n prefix a.*\n}":                       "prefix: ",
		"nats {\n prefix .a\n}":                        "prefix: ",
		"nats {\n prefix $JS\n}":                       "prefix: ",
		"nats {\n prefix a\n prefix b\n}":              "twice",
		"nats {\n replicas 0\n}":                       "replicas",
		"nats {\n replicas 6\n}":                       "replicas",
		"nats {\n replicas x\n}":                       "replicas",
		"nats {\n keep 0\n}":                           "count of keep",
		"nats {\n lease 999ms\n}":                      "at least 1s",
		"nats {\n credentials\n}":                      "one file",
		"nats {\n credentials a b\n}":                  "one file",
		"nats {\n user a\n}":                           "a name and a password",
		"nats {\n user a secret b\n}":                  "a name and a password",
		"nats {\n token\n}":                            "one token",
		"nats {\n token secret b\n}":                   "one token",
		"nats {\n nkey\n}":                             "one file",
		"nats {\n token secret\n nkey b\n}":            "exclude",
		"nats {\n user a secret\n credentials b\n}":    "exclude",
		"nats {\n tls x\n}":                            "argument",
		"nats {\n tls {\n x\n}\n}":                     "unrecognized option",
		"nats {\n tls {\n client_cert a\n}\n}":         "argument",
		"nats {\n user caddy secret\n token secret\n}": "exclude",
	} {
		_, err := parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: the error has a part of the password: %v", text, err)
		}
	}
}

// write writes a file.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func provision(t *testing.T, text string) (*Store, error) {
	t.Helper()
	s := new(Store)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s, s.Provision(caddy.Context{})
}

func TestAMistakeInJSONIsAConfigError(t *testing.T) {
	empty := write(t, "")
	for text, want := range map[string]string{
		`{"urls":["nats://h:{env.SSE_TEST_NONE}"]}`: "SSE_TEST_NONE",
		`{"urls":["h"]}`:    "url: ",
		`{"stream":"a b"}`:  "stream: ",
		`{"prefix":"a..b"}`: "prefix: ",
		`{"prefix":"` + strings.Repeat("x", 129) + `"}`: "prefix: ",
		`{"replicas":-1}`:                                    "replicas",
		`{"replicas":6}`:                                     "replicas",
		`{"keep":-1}`:                                        "keep ",
		`{"keep_age":1}`:                                     "keep_age",
		`{"lease":1}`:                                        "lease",
		`{"password":"secret"}`:                              "needs a user",
		`{"token":"{env.SSE_TEST_NONE}"}`:                    "token: ",
		`{"token":"a","user":"b"}`:                           "exclude",
		`{"credentials":"/nonexistent"}`:                     "credentials: ",
		`{"credentials":"` + empty + `"}`:                    "no JWT",
		`{"credentials":"` + write(t, jwt("")) + `"}`:        "no seed",
		`{"nkey":"/nonexistent"}`:                            "nkey: ",
		`{"nkey":"` + empty + `"}`:                           "no seed",
		`{"tls":{"ca":"/nonexistent"}}`:                      "tls: ca: ",
		`{"tls":{"client_cert":"` + empty + `"}}`:            "together",
		`{"tls":{"client_cert":"/none","client_key":"/no"}}`: "tls: client_cert: ",
	} {
		if _, err := provision(t, text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// jwt returns a file of credentials.
func jwt(seed string) string {
	return "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n" +
		"-----BEGIN USER NKEY SEED-----\n" + seed + "\n------END USER NKEY SEED------\n"
}

func TestFilesOfCredentialsAreTaken(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSE_TEST_FILE", write(t, jwt(string(seed))))
	for _, text := range []string{`{"credentials":"{env.SSE_TEST_FILE}"}`, `{"nkey":"` + write(t, string(seed)) + `"}`} {
		if _, err := provision(t, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestModulesThatDoTheSameHaveTheSameKey(t *testing.T) {
	t.Setenv("SSE_TEST_PASSWORD", "secret")
	key := func(text string) string {
		s, err := provision(t, text)
		if err != nil {
			t.Fatal(err)
		}
		return s.Key()
	}
	first := key(`{"user":"a","password":"secret"}`)
	if strings.Contains(first, "secret") {
		t.Errorf("the key %s has the password", first)
	}
	if again := key(`{"urls":["nats://127.0.0.1:4222"],"user":"a","password":"{env.SSE_TEST_PASSWORD}","prefix":"sse","keep":4096}`); again != first {
		t.Error("the same options have different keys")
	}
	for _, text := range []string{`{"user":"a","password":"other"}`, `{}`, `{"user":"a","password":"secret","stream":"x"}`,
		`{"user":"a","password":"secret","prefix":"x"}`, `{"user":"a","password":"secret","keep_age":3600000000000}`,
		`{"user":"a","password":"secret","urls":["nats://h"]}`, `{"user":"a","password":"secret","replicas":3}`} {
		if key(text) == first {
			t.Errorf("%s has the same key", text)
		}
	}
}
