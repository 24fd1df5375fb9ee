package accept

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const eventStream = "text/event-stream"

func TestQuality(t *testing.T) {
	for _, test := range []struct {
		name           string
		accept         []string
		quality, named int
	}{
		{"no header field accepts everything", nil, 1000, 0},
		{"an empty header field accepts everything", []string{""}, 1000, 0},
		{"several empty header fields accept everything", []string{"", " \t", ",, ,"}, 1000, 0},
		{"EventSource", []string{"text/event-stream"}, 1000, 1000},
		{"curl", []string{"*/*"}, 1000, 0},
		{"a browser that navigates", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"}, 800, 0},
		{"an MCP client", []string{"application/json, text/event-stream"}, 1000, 1000},
		{"HttpURLConnection", []string{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, 0, 0}, // .2 is no qvalue
		{"a lone star is */*", []string{"*"}, 1000, 0},
		{"a lone star has a weight", []string{"*;q=0.2"}, 200, 0},

		{"another type only", []string{"application/json"}, 0, 0},
		{"another subtype only", []string{"text/html"}, 0, 0},
		{"a longer subtype is another", []string{"text/event-stream2, text/event-stream+json, text/event"}, 0, 0},
		{"type wildcard", []string{"text/*"}, 1000, 0},
		{"another type's wildcard", []string{"application/*"}, 0, 0},
		{"type wildcard outranks any", []string{"text/*;q=0.3, */*;q=0.9"}, 300, 0},
		{"name outranks wildcards", []string{"text/*, text/event-stream;q=0.1, */*"}, 100, 100},
		{"name outranks wildcards from another line", []string{"text/*, */*", "text/event-stream;q=0.1"}, 100, 100},
		{"q=0 refuses", []string{"text/event-stream;q=0, */*"}, 0, 0},
		{"q=0.000 refuses", []string{"*/*, text/event-stream;q=0.000"}, 0, 0},
		{"a refused wildcard spares the name", []string{"*/*;q=0, text/event-stream"}, 1000, 1000},
		{"a refused type wildcard outranks any", []string{"text/*;q=0, */*"}, 0, 0},
		{"duplicates: highest weight", []string{"text/event-stream;q=0.2", "text/event-stream;q=0.7, text/event-stream;q=0.5"}, 700, 700},
		{"duplicate of a refusal", []string{"text/event-stream;q=0, text/event-stream;q=0.4"}, 400, 400},

		{"case does not matter", []string{"Text/EVENT-Stream;Q=0.5"}, 500, 500},
		{"white space around everything allowed", []string{" \ttext/event-stream \t; \tq=0.5 \t, */* "}, 500, 500},
		{"no white space", []string{"*/*,text/event-stream;q=0.5"}, 500, 500},
		{"empty elements", []string{",, ,text/event-stream;q=0.5,,"}, 500, 500},
		{"empty parameters", []string{"text/event-stream;; ;q=0.5;"}, 500, 500},

		{"parameters name the type", []string{"text/event-stream;charset=utf-8"}, 1000, 1000},
		{"to refuse parameters is not to refuse the type", []string{"text/event-stream;charset=utf-8;q=0, */*;q=0.5"}, 500, 0},
		{"parameters refused, the type named", []string{"text/event-stream;v=1;q=0, text/event-stream"}, 1000, 1000},
		{"parameters outrank the bare name", []string{"text/event-stream, text/event-stream;charset=utf-8;q=0.4"}, 400, 400},
		{"parameters of a wildcard do not outrank a type", []string{"*/*;a=b, text/*;q=0.6"}, 600, 0},
		{"parameters of a type wildcard do not outrank a name", []string{"text/*;a=b, text/event-stream;q=0.6"}, 600, 600},
		{"parameters after the weight", []string{"text/event-stream;q=0.4;a=b"}, 400, 400},
		{"a quoted comma", []string{`text/html;a="x, text/event-stream", */*;q=0.3`}, 300, 0},
		{"a quoted semicolon", []string{`text/event-stream;a="x;q=0.1";q=0.6`}, 600, 600},
		{"a quoted quote", []string{`text/event-stream;a="\", application/json;q=0.1";q=0.6`}, 600, 600},
		{"a quoted backslash", []string{`text/html;a="\\", text/event-stream;q=0.6`}, 600, 600},
		{"an empty quoted value", []string{`text/event-stream;a="";q=0.6`}, 600, 600},

		{"a decimal comma ends the element", []string{"text/event-stream;q=0,5, */*"}, 0, 0},
		{"weight 1", []string{"text/event-stream;q=1"}, 1000, 1000},
		{"weight 1.000", []string{"text/event-stream;q=1.000"}, 1000, 1000},
		{"weight 1.", []string{"text/event-stream;q=1."}, 1000, 1000},
		{"weight 0.", []string{"text/event-stream;q=0.", "*/*"}, 0, 0},
		{"weight 0.1", []string{"text/event-stream;q=0.1"}, 100, 100},
		{"weight 0.12", []string{"text/event-stream;q=0.12"}, 120, 120},
		{"weight 0.123", []string{"text/event-stream;q=0.123"}, 123, 123},
		{"weight 0.001", []string{"text/event-stream;q=0.001"}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Quality(test.accept, eventStream); got != test.quality {
				t.Errorf("Quality(%q) = %d, want %d", test.accept, got, test.quality)
			}
			if got := Named(test.accept, eventStream); got != test.named {
				t.Errorf("Named(%q) = %d, want %d", test.accept, got, test.named)
			}
		})
	}
}

func TestMalformedElementIsIgnored(t *testing.T) {
	for _, element := range []string{
		"text", "text/", "/event-stream", "/", "text event-stream", "text /event-stream", "text/ event-stream",
		"text/event-stream/x", "*/event-stream", "te\"xt/event-stream", "text/event-stream q=1", "text/event-stream=1",
		"text/event-stream;charset", "text/event-stream;charset=", "text/event-stream;=utf-8", "text/event-stream;a =b",
		"text/event-stream;a= b", "text/event-stream;a=b c", `text/event-stream;a="b"c`, `text/event-stream;a="b`,
		`text/event-stream;a="b\"`, "text/event-stream;q", "text/event-stream;q=", "text/event-stream;q=.5",
		"text/event-stream;q=2", "text/event-stream;q=00", "text/event-stream;q=01", "text/event-stream;q=1.001",
		"text/event-stream;q=0.1234", "text/event-stream;q=1.0000", "text/event-stream;q=-1", "text/event-stream;q=+1",
		"text/event-stream;q=0.5x", "text/event-stream;q=0..5", "text/event-stream;q=1e-1",
		`text/event-stream;q="0.5"`, "text/event-stream;q=NaN", "text/event-stream;q=0.5;q=0.5", "text/event-stream;q=0.٥",
		"text/event-ſtream", "tëxt/event-stream", "text/event-stream\x00", "text/event-stream;a=b\n", "(text/event-stream)",
	} {
		t.Run(element, func(t *testing.T) {
			if got := Quality([]string{element}, eventStream); got != 0 {
				t.Errorf("alone it weighs %d, want 0: it accepts nothing", got)
			}
			if got := Quality([]string{"text/*;q=0.3", element}, eventStream); got != 300 {
				t.Errorf("beside text/*;q=0.3 Quality = %d, want 300", got)
			}
			if got := Quality([]string{"text/event-stream;q=0.4, " + element}, eventStream); got != 400 {
				t.Errorf("after text/event-stream;q=0.4 Quality = %d, want 400", got)
			}
		})
	}
}

// A quote that opens nothing must not hide the ranges after it.
func TestStrayQuoteSpoilsOnlyItsOwnElement(t *testing.T) {
	if got := Named([]string{`te"xt/html, text/event-stream;q=0.5`}, eventStream); got != 500 {
		t.Errorf("Named = %d, want 500", got)
	}
}

func TestOtherMediaTypes(t *testing.T) {
	accept := []string{"application/x-ndjson;q=0.9, text/event-stream;q=0.5, application/json;q=0"}
	for mediaType, want := range map[string]int{
		"application/x-ndjson": 900, "Text/Event-Stream": 500, "application/json": 0, "text/html": 0, "": 0, "/": 0, "text": 0,
	} {
		if got := Quality(accept, mediaType); got != want {
			t.Errorf("Quality(%q) = %d, want %d", mediaType, got, want)
		}
	}
}

func TestNegotiationAllocatesNothing(t *testing.T) {
	accept := []string{`text/html,application/xhtml+xml;q=0.9;a="b,c", */*;q=0.8`, "Text/Event-Stream;q=0.5"}
	if n := testing.AllocsPerRun(100, func() {
		Quality(accept, eventStream)
		Named(accept, eventStream)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkQuality(b *testing.B) {
	accept := []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
	b.ReportAllocs()
	for b.Loop() {
		Quality(accept, eventStream)
	}
}

func FuzzQuality(f *testing.F) {
	for _, seed := range []string{
		"", ",", "*", "*/*;q=0.1", "text/*, text/event-stream;q=0", "text/event-stream;charset=utf-8;q=0.5,text/event-stream",
		`text/html;a="x, text/event-stream", */*;q=0.3`, `text/event-stream;a="\",;"`, `a/b;c="d`, "text/event-stream;q=1.001",
	} {
		f.Add(seed, eventStream, uint64(1))
	}
	f.Add("application/json;q=0.2", "application/json", uint64(2))
	f.Fuzz(func(t *testing.T, header, mediaType string, seed uint64) {
		accept := []string{header}
		quality, named := Quality(accept, mediaType), Named(accept, mediaType)
		if quality < 0 || quality > 1000 || named < 0 || named > 1000 {
			t.Fatalf("Quality %d, Named %d: not in 0..1000", quality, named)
		}
		if named > 0 && named != quality {
			t.Fatalf("the name weighs %d but does not decide: %d", named, quality)
		}

		same := func(change string, accept []string) {
			t.Helper()
			if q, n := Quality(accept, mediaType), Named(accept, mediaType); q != quality || n != named {
				t.Fatalf("%s: %q: Quality %d, Named %d, were %d, %d", change, accept, q, n, quality, named)
			}
		}

		var elements []string
		for rest := header; rest != ""; {
			var element string
			if element, rest = cutElement(rest); element != "" {
				elements = append(elements, element)
			}
		}
		same("split into lines", elements)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(elements), func(i, j int) {
			elements[i], elements[j] = elements[j], elements[i]
		})
		same("permuted", elements)
		// In one line, a quoted-string that is not closed would swallow what comes after it.
		if !strings.Contains(header, `"`) {
			same("permuted in one line", []string{strings.Join(elements, " , ")})
		}
		same("empty elements added", slices.Concat([]string{"", ","}, accept))
		if len(elements) > 0 {
			for _, unrelated := range []string{"x-unrelated/x;q=0.7", "x-unrelated/*", "no range", `text/event-stream;q="1"`} {
				if !strings.HasPrefix(strings.ToLower(mediaType), "x-unrelated/") {
					same("an unrelated range added", append(accept[:1:1], unrelated))
					same("an unrelated range put first", []string{unrelated, header})
				}
			}
		}
	})
}
