package redis

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
}

func TestTheCaddyfileBecomesThisJSON(t *testing.T) {
	for text, want := range map[string]string{
		`redis redis://h`: `{"url":"redis://h"}`,
		`redis rediss://user:{env.P}@h:1/2 {
			prefix a
			keep 10 1MiB 1h
			lease 2s
			tls {
				ca ca.pem
				client_cert cert.pem key.pem
				server_name n
			}
		}`: `{"url":"rediss://user:{env.P}@h:1/2","prefix":"a","keep":10,"keep_size":1048576,"keep_age":3600000000000,"lease":2000000000,` +
			`"tls":{"ca":"ca.pem","client_cert":"cert.pem","client_key":"key.pem","server_name":"n"}}`,
		"redis rediss://h {\n keep 10\n tls\n}": `{"url":"rediss://h","keep":10,"tls":{}}`,
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
		"redis":                                            "one URL",
		`redis ""`:                                         "one URL",
		"redis redis://a redis://b":                        "one URL",
		"redis h:6379":                                     "url: ",
		"redis http://h":                                   "url: ",
		"redis redis://":                                   "url: ",
		"redis redis://h/x":                                "url: ",
		"redis redis://h/-1":                               "url: ",
		"redis redis://h?read_timeout=1s":                  "url: ",
		"redis redis://:se#cret@h":                         "url: ",
		"redis redis://:se/cret@h":                         "url: ",
		"redis unix://":                                    "url: ",
		"redis redis://h {\n what\n}":                      "unrecognized subdirective",
		"redis redis://h {\n prefix\n}":                    "argument",
		"redis redis://h {\n prefix a\n prefix b\n}":       "twice",
		"redis redis://h {\n keep\n}":                      "argument",
		"redis redis://h {\n keep 0\n}":                    "count of keep",
		"redis redis://h {\n keep 1 x\n}":                  "size of keep",
		"redis redis://h {\n keep 1 1MB x\n}":              "age of keep",
		"redis redis://h {\n keep 1 1MB 1h x\n}":           "argument",
		"redis redis://h {\n lease 999ms\n}":               "at least 1s",
		"redis redis://h {\n lease x\n}":                   "lease",
		"redis rediss://h {\n tls x\n}":                    "argument",
		"redis rediss://h {\n tls {\n x\n}\n}":             "unrecognized option",
		"redis rediss://h {\n tls {\n ca\n}\n}":            "argument",
		"redis rediss://h {\n tls {\n client_cert a\n}\n}": "argument",
		"redis rediss://h {\n tls {\n ca a\n ca b\n}\n}":   "twice",
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

func TestAMistakeInJSONIsAConfigError(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{}`: "url: ",
		`{"url":"redis://h:{env.SSE_TEST_NONE}"}`:                                                 "SSE_TEST_NONE",
		`{"url":"redis://h","keep":-1}`:                                                           "keep ",
		`{"url":"redis://h","keep_size":-1}`:                                                      "keep_size",
		`{"url":"redis://h","keep_age":1}`:                                                        "keep_age",
		`{"url":"redis://h","lease":1}`:                                                           "lease",
		`{"url":"redis://h","tls":{}}`:                                                            "rediss://",
		`{"url":"unix:///s","tls":{}}`:                                                            "rediss://",
		`{"url":"rediss://h","tls":{"ca":"/nonexistent"}}`:                                        "tls: ca: ",
		`{"url":"rediss://h","tls":{"ca":"` + empty + `"}}`:                                       "no certificate",
		`{"url":"rediss://h","tls":{"client_cert":"` + empty + `"}}`:                              "together",
		`{"url":"rediss://h","tls":{"client_cert":"/nonexistent","client_key":"x"}}`:              "tls: client_cert: ",
		`{"url":"rediss://h","tls":{"client_cert":"` + empty + `","client_key":"/nonexistent"}}`:  "tls: client_key: ",
		`{"url":"rediss://h","tls":{"client_cert":"` + empty + `","client_key":"` + empty + `"}}`: "tls: client_cert: ",
	} {
		s := new(Store)
		if err := json.Unmarshal([]byte(text), s); err != nil {
			t.Fatal(err)
		}
		if err := s.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestModulesThatDoTheSameHaveTheSameKey(t *testing.T) {
	t.Setenv("SSE_TEST_PASSWORD", "secret")
	key := func(text string) string {
		s := new(Store)
		if err := json.Unmarshal([]byte(text), s); err != nil {
			t.Fatal(err)
		}
		if err := s.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return s.Key()
	}
	first := key(`{"url":"redis://:secret@h"}`)
	if strings.Contains(first, "secret") {
		t.Errorf("the key %s has the password", first)
	}
	if again := key(`{"url":"redis://:{env.SSE_TEST_PASSWORD}@h","prefix":"sse","keep":4096}`); again != first {
		t.Error("the same options have different keys")
	}
	for _, text := range []string{`{"url":"redis://:other@h"}`, `{"url":"redis://:secret@h","prefix":"x"}`, `{"url":"redis://:secret@h","keep_age":3600000000000}`} {
		if key(text) == first {
			t.Errorf("%s has the same key", text)
		}
	}
}
