package mapping

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustCompile(t testing.TB, expr string) *Where {
	t.Helper()
	w, err := CompileWhere(expr)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// values is a lookup of placeholders.
func values(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

const (
	yes  = "true"
	no   = "false"
	fail = "error"
)

func match(f *Filter, text string, seq uint64) string {
	var r Document
	r.Reset([]byte(text), seq)
	switch ok, err := f.Match(&r); {
	case err != nil:
		return fail
	case ok:
		return yes
	}
	return no
}

func TestWhereLooksIntoRecords(t *testing.T) {
	const rec = `{"level":"error","n":20,"neg":-3,"big":18446744073709551615,"huge":1e400,"f":1.5,"t":21,"e":1e1,` +
		`"a":{"b":[1,{"c":"x\ty"}],"c.d":1},"tags":["u","v"],"z":null,"yes":true,"empty":{},"none":[],"k\u0065y":1}`
	for expr, want := range map[string]string{
		`record.level == "error"`:                                yes,
		`record.level != "error"`:                                no,
		`record["level"] == 'error'`:                             yes,
		`record.n % 10 == 0`:                                     yes,
		`record.n + 1 == 21`:                                     yes,
		`record.n == 20.0`:                                       yes,
		`record.t > 20.5`:                                        yes,
		`record.f > 1`:                                           yes,
		`record.f + 0.5 == 2.0`:                                  yes,
		`record.e == 10`:                                         yes,
		`type(record.e) == double`:                               yes,
		`record.neg < 0`:                                         yes,
		`record.big == 18446744073709551615u`:                    yes,
		`record.huge > 1e300`:                                    yes,
		`record.z == null`:                                       yes,
		`record.yes`:                                             yes,
		`!record.yes`:                                            no,
		`record.key == 1`:                                        yes,
		`record.a.b[1].c == "x\ty"`:                              yes,
		`record.a["c.d"] == 1`:                                   yes,
		`record.a.b[0] == 1`:                                     yes,
		`has(record.a)`:                                          yes,
		`has(record.a.q)`:                                        no,
		`has(record.q)`:                                          no,
		`has(record.z)`:                                          yes,
		`"level" in record`:                                      yes,
		`"nope" in record`:                                       no,
		`1 in record`:                                            no,
		`b"level" in record`:                                     no,
		`"v" in record.tags`:                                     yes,
		`"w" in record.tags`:                                     no,
		`size(record.tags) == 2`:                                 yes,
		`record.a.size() == 2`:                                   yes,
		`record.tags == ["u", "v"]`:                              yes,
		`["u", "v"] == record.tags`:                              yes,
		`record.tags + ["w"] == ["u", "v", "w"]`:                 yes,
		`record.a == {"c.d": 1, "b": [1, {"c": "x\ty"}]}`:        yes,
		`{"c.d": 1, "b": [1, {"c": "x\ty"}]} == record.a`:        yes,
		`record.a == record.a`:                                   yes,
		`record.empty == {} && record.none == []`:                yes,
		`record.tags.all(t, t < "w")`:                            yes,
		`record.tags.exists(t, t == "v")`:                        yes,
		`record.tags.exists_one(t, t == "v")`:                    yes,
		`record.tags.filter(t, t != "u") == ["v"]`:               yes,
		`record.tags.map(t, t + "!") == ["u!", "v!"]`:            yes,
		`record.exists(k, k == "n")`:                             yes,
		`record.a.all(k, k in ["b", "c.d"])`:                     yes,
		`record.all(k, has(record.n) && k in record)`:            yes,
		`type(record) == map && type(record.tags) == list`:       yes,
		`record.tags.join("-") == "u-v"`:                         yes,
		`record.level.upperAscii() == "ERROR"`:                   yes,
		`math.greatest(record.n, record.t) == 21`:                yes,
		`lists.range(3).size() == 3`:                             yes,
		`cel.bind(l, record.level, l == "error" || l == "warn")`: yes,
		`record.level in ["error", "warn"]`:                      yes,
		`record.level.matches("^err")`:                           yes,
		`record.?q.orValue("x") == "x"`:                          yes,
		`record.?level.orValue("x") == "error"`:                  yes,
		`optional.ofNonZeroValue(record.empty).hasValue()`:       no,
		`string(record.n) == "20"`:                               yes,
		`seq == 7`:                                               yes,
		`seq % 2 == 0`:                                           no,
		`record.q == 1`:                                          fail,
		`record.a.q.r == 1`:                                      fail,
		`record.q == 1 || record.n == 20`:                        yes,
		`record.tags[2] == "w"`:                                  fail,
		`record.tags[-1] == "w"`:                                 fail,
		`record.tags["x"] == "w"`:                                fail,
		`record[0] == 1`:                                         fail,
		`record.level + 1 == 2`:                                  fail,
		`record.level`:                                           fail,
		`record.n / 0 == 1`:                                      fail,
	} {
		if got := match(mustCompile(t, expr).Bind(nil), rec, 7); got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
}

func TestWhereSeesRecordsOfEveryKind(t *testing.T) {
	for _, c := range []struct{ expr, text, want string }{
		{`record == "plain text"`, `plain text`, yes},
		{`record.contains("text")`, `plain text`, yes},
		{`record == ""`, ``, yes},
		{`has(record.level)`, `plain text`, no},
		{`record.level == "x"`, `plain text`, fail},
		{`record == "{\"a\":"`, `{"a":`, yes},
		{`record == "quoted"`, ` "quoted" `, yes},
		{`record == 12`, `12`, yes},
		{`record == null`, `null`, yes},
		{`record`, `true`, yes},
		{`record`, `1`, fail},
		{`record[1] == 2 && size(record) == 2`, ` [1,2]`, yes},
		{`size(record) == 0`, `{}`, yes},
		{`record.a == 1`, `{"a":1,"a":2}`, yes},
		{`record.size() == 1 && record.a == 1`, `{"a":1,"a":2}`, yes},
	} {
		if got := match(mustCompile(t, c.expr).Bind(nil), c.text, 1); got != c.want {
			t.Errorf("%s on %s: got %s, want %s", c.expr, c.text, got, c.want)
		}
	}
}

// More lookups than are answered by scanning must give the same answers.
func TestWhereManyLookupsInOneRecord(t *testing.T) {
	terms := slices.Repeat([]string{`record.a == 1`, `record["\u00e9"] == "x"`, `!has(record.zz)`}, scans)
	w := mustCompile(t, strings.Join(terms, " && "))
	f := w.Bind(nil)
	for range 2 {
		if got := match(f, `{"a":1,"\u00e9":"x","a":2}`, 1); got != yes {
			t.Errorf("got %s", got)
		}
		if got := match(f, `{"a":2,"\u00e9":"x"}`, 1); got != no {
			t.Errorf("other record: got %s", got)
		}
	}
}

func TestWherePlaceholderStandsForItsStringValue(t *testing.T) {
	lookup := values(map[string]string{
		"x": "v", "http.auth.user.id": `ann" || true || "`, "a-b": "{x}", "empty": "", "$E": "env", "a_b": "2", "a.b": "1",
		"file./run/x-y": "f",
	})
	for expr, want := range map[string]string{
		`record.user == {x}`: yes,
		`{x} == "v"`:         yes,
		`{x}.size() == 1`:    yes,
		`{file./run/x-y} == "f" && "{file./run/x-y}" == "f"`: yes,
		`record[{x}] == 1`:                                         yes,
		`"{x}" == "v"`:                                             yes,
		`'{x}' == "v"`:                                             yes,
		`"""{x}""" == 'v' && '''{x}''' == "v"`:                     yes,
		`"""a"{x}b""" == 'a"vb'`:                                   yes,
		`"<{x}|{x}>" == "<v|v>"`:                                   yes,
		`"<{x}>".size() == 3`:                                      yes,
		`"a" + "{x}" + "b" == "avb"`:                               yes,
		`r"\d{2}{x}" == "\\d{2}v"`:                                 yes,
		`b"<{x}>" == b"<v>"`:                                       yes,
		`br'\{x}' == b'\\v'`:                                       yes,
		`"\"{x}\\" == '"v\\'`:                                      yes,
		`{"{x}": 1}["v"] == 1`:                                     yes,
		`{"x": {x}} == {'x': "v"}`:                                 yes,
		`{"x":1}.x == 1 && {1: 2}[1] == 2 && {} == {}`:             yes,
		`[1].map(x, {x: 1}) == [{1: 1}]`:                           yes,
		`record.list.exists(e, e == "{x}")`:                        yes,
		`record.user == {http.auth.user.id}`:                       no,
		`record.user == "{http.auth.user.id}"`:                     no,
		`{http.auth.user.id} == 'ann" || true || "'`:               yes,
		`"{a-b}" == "{" + "x" + "}" && {a-b}.size() == 3`:          yes,
		`"[{empty}]" == "[]" && {empty} == ""`:                     yes,
		`{$E} + "{$E}" == "envenv"`:                                yes,
		`{a.b} + {a_b} == "12"`:                                    yes,
		`{unknown.name} == "{" + "unknown.name}"`:                  yes,
		`"<{unknown.name}>" == "<{" + "unknown.name}>"`:            yes,
		`"é".matches(r"^\p{L}$") && "Ω".matches("\\p{Greek}{x}?")`: yes,
		`p0 == 1 || true`:                                          "", // compile error, not our variable
		"true // {record} \"{x\n && {x} == 'v'":                    yes,
	} {
		w, err := CompileWhere(expr)
		if want == "" {
			if err == nil {
				t.Errorf("%s: compiled", expr)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := match(w.Bind(lookup), `{"user":"v","v":1,"list":["v"]}`, 1); got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
	w := mustCompile(t, `{x} == "{a.b} {x}" || [1].exists(p0, p0 == 1)`)
	if got, want := w.Placeholders(), []string{"x", "a.b"}; !slices.Equal(got, want) {
		t.Errorf("placeholders: got %q, want %q", got, want)
	}
}

func TestWhereThatCannotWorkIsAConfigError(t *testing.T) {
	for expr, want := range map[string]string{
		``:                           `is empty`,
		"  \n":                       `is empty`,
		`record.level = "x"`:         `line 1, column 14: a single =`,
		`record.level == "x`:         `Syntax error`,
		`record.level == 'x"`:        `Syntax error`,
		`record.level == """x"`:      `Syntax error`,
		`1`:                          `not as int`,
		`seq == 1 ? 1 : 2`:           `not as int`,
		`{x}`:                        `not as string`,
		`{http.request.uri} == 1`:    `line 1, column 20: found no matching overload`,
		`{http.request.uri} && foo`:  `line 1, column 23: undeclared reference to 'foo'`,
		"{x} == 'a' &&\n {http.x}.q": `line 2, column`,
		`{record} == "x"`:            `write record without the braces`,
		`{record.level} == "x"`:      `write record.level without the braces`,
		`"{record.level}" == "x"`:    `write record.level without the braces`,
		`{seq} > 1`:                  `write seq without the braces`,
		`{record|json} == "x"`:       `write record|json without the braces`,
		`"{seq|url}" == "1"`:         `write seq|url without the braces`,
		`{line} == "x"`:              `{line} is for templates`,
		`record.{x} == 1`:            `write record[{x}]`,
		`[1].all({x}, true)`:         `instead of {x}`,
		`cel.bind({x}, 1, true)`:     `instead of {x}`,
		`{x}(1)`:                     `undeclared reference to '{x}'`,
		`record.a = 1`:               `line 1, column 10: a single = does not compare: write ==`,
		`record.a="x"`:               `a single = does not compare: write ==`,
		`req == "x"`:                 `undeclared reference to 'req'`,
		`"a".matches("(")`:           `regexp`,
		strings.Repeat("(", 5000):    `recursion`,
	} {
		_, err := CompileWhere(expr)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "expression ") {
			t.Errorf("%s: got error %v, want one with %q", expr, err, want)
		}
	}
}

func TestWhereErrorOutlivesItsRecord(t *testing.T) {
	f := mustCompile(t, `record.map[record.key] == 1`).Bind(nil)
	text := []byte(`{"map":{},"key":"wanted"}`)
	var r Document
	r.Reset(text, 1)
	_, err := f.Match(&r)
	copy(text, strings.Repeat("#", len(text)))
	if err == nil || !strings.Contains(err.Error(), "no such key: wanted") || !strings.Contains(err.Error(), "record.map[record.key]") {
		t.Errorf("got %v", err)
	}
}

// Nested macros over a large record would hold up the stream for hours.
func TestWhereEndsALoopThatTakesTooLong(t *testing.T) {
	large := "[" + strings.Repeat("1,", 100_000) + "1]"
	for _, expr := range []string{
		`record.all(x, record.all(y, x + y >= 0))`,
		`record.all(x, !(2 in record))`,
	} {
		f := mustCompile(t, expr).Bind(nil)
		var r Document
		r.Reset([]byte(large), 1)
		if _, err := f.Match(&r); err == nil || !strings.Contains(err.Error(), "took longer than") {
			t.Errorf("%s: got error %v", expr, err)
		}
		if got := match(f, `[1]`, 2); got != yes {
			t.Errorf("%s: the next record: got %s", expr, got)
		}
	}
}

// Without a macro there is no time limit: each level of nesting must not cost another look at all that lies below it.
func TestWhereComparesDeeplyNestedValuesInOnePass(t *testing.T) {
	const depth = maxDepth - 2
	long := `"` + strings.Repeat("x", 8<<20) + `"`
	objects := strings.Repeat(`{"a":`, depth) + long + strings.Repeat(`}`, depth)
	arrays := strings.Repeat(`[`, depth) + long + strings.Repeat(`]`, depth)
	start := time.Now()
	for expr, want := range map[string]string{
		`record.o == record.o`:                  yes,
		`record.a == record.a`:                  yes,
		`record.a != record.a`:                  no,
		`record.o == record.a`:                  no,
		`record.o in [record.o]`:                yes,
		`[record.a, record.o] == [record.o, 1]`: no,
	} {
		if got := match(mustCompile(t, expr).Bind(nil), `{"o":`+objects+`,"a":`+arrays+`}`, 1); got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
	// Milliseconds each; minutes if it is done level by level.
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWhereServesManyStreamsAtOnce(t *testing.T) {
	w := mustCompile(t, `record.room == {room} && record.tags.exists(t, t == "{room}!")`)
	var streams sync.WaitGroup
	for _, room := range []string{"a", "b", "c", "d"} {
		streams.Go(func() {
			f := w.Bind(values(map[string]string{"room": room}))
			for range 200 {
				for _, other := range []string{"a", "b", "c", "d"} {
					want := no
					if room == other {
						want = yes
					}
					if got := match(f, `{"room":"`+other+`","tags":["x","`+other+`!"]}`, 1); got != want {
						t.Errorf("room %s, record of %s: got %s", room, other, got)
						return
					}
				}
			}
		})
	}
	streams.Wait()
}
