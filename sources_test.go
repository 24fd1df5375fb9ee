package sse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// Only clients that may use the route get its history, whatever else a reload changes.
func TestARouteNeverShowsWhatAnotherHasShownBeforeAReload(t *testing.T) {
	secret, public := newHub(t), newHub(t)
	secretAt, publicAt := ssetest.Upstream(t, secret.ServeHTTP), ssetest.Upstream(t, public.ServeHTTP)
	share := "sse {\ndrain 50ms\nshare {\nreplay 9\n}\n}\n"
	admin := "@admin header X-Role admin\nhandle @admin {\n" + share + "reverse_proxy " + secretAt + "\n}\n"
	everybody := "handle {\n" + share + "reverse_proxy " + publicAt + "\n}\n"
	same := "handle {\n" + share + "reverse_proxy " + secretAt + "\n}\n"
	named := func(matcher, name string) string { return "handle " + matcher + " {\ninvoke " + name + "\n}\n" }
	stream := func(name, address string) string {
		return "&(" + name + ") {\nroute {\n" + share + "reverse_proxy " + address + "\n}\n}\n"
	}
	for name, tc := range map[string]struct{ before, after string }{
		"the one before it is removed":      {ssetest.Site(admin + everybody), ssetest.Site(everybody)},
		"it changes places":                 {ssetest.Site(admin + everybody), ssetest.Site(strings.Replace(everybody, "handle", "handle /live", 1) + admin)},
		"its matcher is removed":            {ssetest.Site(admin + everybody), ssetest.Site(same)},
		"its matcher is another":            {ssetest.Site(admin + everybody), ssetest.Site(strings.Replace(admin, "admin\n", "*\n", 1) + same)},
		"its upstream is another":           {ssetest.Site(same), ssetest.Site(everybody)},
		"authentication before it ends":     {ssetest.Site("basic_auth /x* {\nx $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n" + same), ssetest.Site(same)},
		"a guard in its route is removed":   {ssetest.Site("route {\n@anon not header X-Role admin\nrespond @anon 403\n" + share + "reverse_proxy " + secretAt + "\n}"), ssetest.Site("route {\n" + share + "reverse_proxy " + secretAt + "\n}")},
		"a handled guard is removed":        {ssetest.Site("@anon not header X-Role admin\nhandle @anon {\nabort\n}\n" + same), ssetest.Site(same)},
		"it is one of another port":         {ssetest.Site(admin) + "http://localhost:{{port \"inside\"}} {\n" + same + "}\n", ssetest.Site(same)},
		"handlers behind it in other lists": {ssetest.Site(share + "handle {\nreverse_proxy " + secretAt + "\n}\n"), ssetest.Site(share + "handle {\nreverse_proxy " + publicAt + "\n}\n")},
		"a named route is another":          {stream("n", secretAt) + ssetest.Site(named("", "n")), stream("n", publicAt) + ssetest.Site(named("", "n"))},
		"a named route behind it":           {"&(n) {\nreverse_proxy " + secretAt + "\n}\n" + ssetest.Site(share+named("", "n")), "&(n) {\nreverse_proxy " + publicAt + "\n}\n" + ssetest.Site(share+named("", "n"))},
		"a named route is for everybody":    {stream("n", secretAt) + ssetest.Site("@admin header X-Role admin\n"+named("@admin", "n")), stream("n", secretAt) + ssetest.Site(named("", "n"))},
	} {
		t.Run(name, func(t *testing.T) {
			server := startSharing(t, tc.before)
			url := server.URL("h1", "/live")
			if strings.Contains(tc.before, "inside") {
				url = "http://localhost" + strings.TrimPrefix(server.Addr("inside"), "127.0.0.1") + "/live"
			}
			insider := ssetest.Get(t, ssetest.Client(t, "h1"), url, ssetest.With("Accept", "text/event-stream"), ssetest.With("X-Role", "admin"))
			waitOpen(t, insider)
			secret.wait(t, 1)
			secret.say("secret\n")
			insider.WaitEvents(1)
			asked := len(secret.joined()) + len(public.joined())
			server.Reload(tc.after)
			anybody := get(t, server, "/live", ssetest.LastEventID("x"))
			ssetest.Wait(t, "the new route's upstream to be asked", func() bool { return len(secret.joined())+len(public.joined()) > asked })
			opened := waitOpen(t, anybody)
			secret.say("new\n")
			public.say("new\n")
			ssetest.Wait(t, "what is said then", func() bool { return strings.Contains(anybody.Raw(), "data: new\n") })
			if strings.Contains(anybody.Raw(), "secret") {
				t.Errorf("opened at %s with what the other route has shown: %s", opened, anybody)
			}
			for _, s := range []*ssetest.Stream{insider, anybody} {
				s.Close()
			}
		})
	}
}

func TestARouteIsTheSameAfterAReloadWhateverElseComesOrGoes(t *testing.T) {
	u, other := newHub(t), newHub(t)
	address, otherAt := ssetest.Upstream(t, u.ServeHTTP), ssetest.Upstream(t, other.ServeHTTP)
	sse := "sse {\ndrain 50ms\nshare\n}\nreverse_proxy "
	ours, another := "handle /live* {\n"+sse+address+"\n}\n", "handle /other* {\n"+sse+otherAt+"\n}\n"
	flat := "sse /live* {\ndrain 50ms\nshare\n}\nreverse_proxy /live* " + address + "\n"
	prefixed := "handle_path /live* {\nheader X-Any any\n" + sse + address + "\n}\n"
	nested := "route {\nhandle /live* {\nroute {\n" + sse + address + "\n}\n}\n}\n"
	named := "&(n) {\nroute {\n" + sse + address + "\n}\n}\n"
	invokes := "handle /live* {\ninvoke n\n}\n"
	for name, tc := range map[string]struct{ before, after string }{
		"nothing":            {ssetest.Site(ours), ssetest.Site(ours)},
		"a route before":     {ssetest.Site(ours), ssetest.Site("handle /lives {\n" + sse + otherAt + "\n}\n" + ours)},
		"a route after":      {ssetest.Site(ours), ssetest.Site(ours + another + "respond nothing\n")},
		"a refused path":     {ssetest.Site(ours), ssetest.Site("respond /lives 403\nhandle /livers {\nrespond 404\n}\n" + ours)},
		"none before":        {ssetest.Site(another + ours), ssetest.Site(ours)},
		"other order":        {ssetest.Site(ours + another), ssetest.Site(another + ours)},
		"a site before":      {ssetest.Site(ours), "http://a.localhost:{{port \"http\"}} {\n" + another + "}\n" + ssetest.Site(ours)},
		"a server before":    {ssetest.Site(ours), "http://localhost:{{port \"another\"}} {\n" + ours + "}\n" + ssetest.Site(ours)},
		"settings":           {ssetest.Site(ours), "{\nservers {\ntimeouts {\nread_body 9s\n}\n}\n}\n" + ssetest.Site("root * /srv\nencode\nheader X-Any any\n"+ours)},
		"its own options":    {ssetest.Site(ours), ssetest.Site(strings.ReplaceAll(ours, "share", "heartbeat 9s\nshare {\nhistory 99\n}"))},
		"without handle":     {ssetest.Site(flat), ssetest.Site("sse /lives* {\nshare\n}\nreverse_proxy /li* " + otherAt + "\n" + flat)},
		"a rewritten prefix": {ssetest.Site(prefixed), ssetest.Site(another + prefixed)},
		"within others":      {ssetest.Site(nested), ssetest.Site(another + nested)},
		"a named route":      {named + ssetest.Site(invokes), named + "&(m) {\nrespond nothing\n}\n" + ssetest.Site("handle /m {\ninvoke m\n}\n"+invokes)},
	} {
		t.Run(name, func(t *testing.T) {
			server := startSharing(t, tc.before)
			client := get(t, server, "/live")
			u.wait(t, 1)
			u.say("1\n", "2\n")
			id := client.WaitEvents(2)[0].ID
			server.Reload(tc.after)
			_ = wholeBody(t, client)
			again := get(t, server, "/live", ssetest.LastEventID(id))
			if e := again.WaitEvents(1); e[0].Data != "2" {
				t.Errorf("history is lost: %s", again)
			}
			again.Close()
			for _, l := range server.Logs() {
				if strings.Contains(l.Message, "survive") || strings.Contains(l.Message, "no effect") {
					t.Errorf("warned without need: %s", l.Message)
				}
			}
		})
	}
}

func TestANamedRouteThatIsInvokedInDifferentPlacesSharesNothing(t *testing.T) {
	a, b := newHub(t), newHub(t)
	server := startSharing(t, "&(n) {\nsse {\nshare {\nreplay 9\n}\n}\n}\n"+ssetest.Site(
		"@a header X-Who a\nroute @a {\ninvoke n\nreverse_proxy "+ssetest.Upstream(t, a.ServeHTTP)+"\n}\n"+
			"route {\ninvoke n\nreverse_proxy "+ssetest.Upstream(t, b.ServeHTTP)+"\n}\n"))
	first, second := get(t, server, "/", ssetest.With("X-Who", "a")), get(t, server, "/")
	a.wait(t, 1)
	b.wait(t, 1)
	a.say("a\n")
	b.say("b\n")
	wantEvents(t, first, "a")
	wantEvents(t, second, "b")
	server.WaitLog("a warning", func(l ssetest.Log) bool { return strings.Contains(l.Message, "share has no effect") })
}

// The request to the upstream must not have parts of a client's request that another client has not sent.
func TestWhatAClientHasShapedIsPartOfTheKeyOrIsNotAsked(t *testing.T) {
	u := newHub(t)
	address := ssetest.Upstream(t, u.ServeHTTP)
	user := func(name string) func(*http.Request) { return ssetest.With("X-User", name) }
	t.Run("vars that the next handler reads", func(t *testing.T) {
		for name, share := range map[string]string{"with the default key": "share", "with a key": "share all"} {
			t.Run(name, func(t *testing.T) {
				before := len(u.joined())
				server := startSharing(t, ssetest.Site("vars user {header.X-User}\nsse {\n"+share+"\n}\nreverse_proxy "+address+" {\nheader_up X-Asked-For {vars.user}\n}"))
				for i, name := range []string{"a", "b"} {
					waitOpen(t, get(t, server, "/", user(name)))
					if got := u.waitJoin(t, before+1+i).header.Get("X-Asked-For"); got != name {
						t.Errorf("%s's stream was asked for %q", name, got)
					}
				}
			})
		}
	})
	t.Run("vars that nothing reads, and a query that is rewritten", func(t *testing.T) {
		before := len(u.joined())
		server := startSharing(t, ssetest.Site("vars user {header.X-User}\nrewrite * /live?\nsse {\nshare\n}\nreverse_proxy "+address))
		waitOpen(t, get(t, server, "/?a=1", user("a")))
		waitOpen(t, get(t, server, "/?a=2", user("b")))
		u.wait(t, 1)
		if n := len(u.joined()) - before; n != 1 {
			t.Errorf("%d upstream connections, want 1", n)
		}
	})
	t.Run("placeholders", func(t *testing.T) {
		before := len(u.joined())
		server := startSharing(t, ssetest.Site("map {header.X-User} {mapped} {\n~(.*) ${1}\n}\n@user header_regexp user X-User (.*)\nsse @user {\nshare\n}\nreverse_proxy "+address+
			" {\nheader_up X-Mapped {mapped}\nheader_up X-Matched {re.user.1}\nheader_up X-Method {http.request.orig_method}\nheader_up X-Name {http.request.tls.server_name}\n}"))
		waitOpen(t, get(t, server, "/", user("a")))
		seen := u.waitJoin(t, before+1).header
		for _, name := range []string{"X-Mapped", "X-Matched"} {
			if got := seen.Get(name); strings.Contains(got, "a") && !strings.Contains(got, "{") {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
	t.Run("the case of the host", func(t *testing.T) {
		before := len(u.joined())
		server := startSharing(t, ssetest.Site("sse {\nshare\n}\nreverse_proxy "+address))
		waitOpen(t, get(t, server, "/"))
		waitOpen(t, get(t, server, "/", func(r *http.Request) { r.Host = strings.ToUpper(r.URL.Host) }))
		if seen := u.waitJoin(t, before+1); seen.host != strings.ToLower(seen.host) || len(u.joined()) != before+1 {
			t.Errorf("upstream was asked for %q, %d times", seen.host, len(u.joined())-before)
		}
	})
}

func TestTheQuerysLastEventIDIsNotPartOfAKeyOfTheOriginalURI(t *testing.T) {
	u := newHub(t)
	for name, config := range map[string]string{
		"key":     shared(u, "share {http.request.orig_uri}"),
		"query":   shared(u, "share {http.request.orig_uri.path}?{http.request.orig_uri.query}{http.request.orig_uri.prefixed_query}"),
		"backend": site("backend http http://"+ssetest.Upstream(t, u.ServeHTTP)+"{http.request.orig_uri}\nshare", ""),
	} {
		t.Run(name, func(t *testing.T) {
			server := startSharing(t, config)
			before := len(u.joined())
			first := get(t, server, "/a?b=c")
			u.wait(t, 1)
			u.say("1\n", "2\n")
			id := first.WaitEvents(1)[0].ID
			wantEvents(t, get(t, server, "/a?b=c&lastEventId="+id), "2")
			if n := len(u.joined()) - before; n != 1 {
				t.Errorf("%d upstream connections, want 1", n)
			}
		})
	}
}
