package argument

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

// bound binds an argument to a request for /?query.
func bound(t *testing.T, text string, p Place, query string) (Argument, error) {
	t.Helper()
	a, err := Parse(strings.ReplaceAll(text, "{query.", "{http.request.uri.query."), p)
	if err != nil {
		t.Fatal(err)
	}
	return a.Bind(upstreamtest.Request("/?" + query))
}

func TestAValueIsNeverExpandedAgain(t *testing.T) {
	t.Setenv("SSE_TEST_X", "{last_id}{query.x}")
	a, err := bound(t, "{query.x} {env.SSE_TEST_X} {last_id} {unknown}", Text, "x={env.HOME}{last_id}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Expand("{query.x}")
	if want := "{env.HOME}{last_id} {last_id}{query.x} {query.x} {unknown}"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestAClientsValueThatLeavesItsPlaceIsABadRequest(t *testing.T) {
	for _, test := range []struct {
		place Place
		value string
		ok    bool
	}{
		{Text, "a\nb", true}, {Text, "a\x00b", false},
		{Line, "a b", true}, {Line, "a\nb", false}, {Line, "a\rb", false},
		{Host, "example.com", true}, {Host, "unix//run/x.sock", false}, {Host, "me@evil.test", false},
	} {
		_, err := bound(t, "{query.x}", test.place, "x="+escape(test.value))
		if (err == nil) != test.ok || err != nil && failure.Status(err) != http.StatusBadRequest {
			t.Errorf("%q: got %v", test.value, err)
		}
		a, err := Parse("{last_id}", test.place)
		if err == nil {
			_, err = a.Expand(test.value)
		}
		if (err == nil) != test.ok || err != nil && failure.Status(err) != http.StatusBadRequest {
			t.Errorf("%q as the last id: got %v", test.value, err)
		}
	}
}

func escape(s string) string {
	return strings.NewReplacer("\n", "%0a", "\r", "%0d", "\x00", "%00", " ", "%20").Replace(s)
}

func TestTextThatLooksLikeAPlaceholderHasAnotherKey(t *testing.T) {
	expanded, err := bound(t, "{query.x}", Text, "x={last_id}")
	if err != nil {
		t.Fatal(err)
	}
	open, err := bound(t, "{last_id}", Text, "")
	if err != nil {
		t.Fatal(err)
	}
	if expanded.Key() == open.Key() {
		t.Error("the keys are equal")
	}
}

func TestAKeyWithAPlaceholderThatIsNotClosedIsAnError(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, "{client_ip}": true, `\{a`: true, "a}": true, "{a": false, "{a{b}": false, "{http.request.host}-{a": false, "{record}": false,
	} {
		if err := CheckKey(text); (err == nil) != ok {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestAKeyWithAPlaceholderThatNobodyKnowsIsAnError(t *testing.T) {
	key, err := ParseKey("{nobody.knows}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Expand(upstreamtest.Request("/")); failure.Status(err) != http.StatusInternalServerError {
		t.Errorf("got %v", err)
	}
}
