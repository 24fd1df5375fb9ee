package parse

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const unfit = "does not fit"

func mustNew(t testing.TB, spec Spec) *Parser {
	t.Helper()
	p, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// object is what the line becomes.
func object(t testing.TB, p *Parser, line string) string {
	t.Helper()
	out, fits := p.AppendObject([]byte("before"), []byte(line))
	text, found := strings.CutPrefix(string(out), "before")
	if !found {
		t.Fatalf("%q: what was there became %q", line, out)
	}
	if !fits {
		if text != "" {
			t.Errorf("%q does not fit, and left %q", line, text)
		}
		return unfit
	}
	if !json.Valid([]byte(text)) {
		t.Errorf("%q became %s, which is not JSON", line, text)
	}
	return text
}

// try gives each line to one parser twice: what it keeps from line to line must not show.
func try(t *testing.T, p *Parser, lines map[string]string) {
	t.Helper()
	for range 2 {
		for line, want := range lines {
			if got := object(t, p, line); got != want {
				t.Errorf("%.200q\n got %.500s\nwant %.500s", line, got, want)
			}
		}
	}
}

func TestCSVMakesFieldsOfColumns(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	try(t, mustNew(t, Spec{Syntax: CSV, Columns: []string{"a", "-", "c.d"}}), map[string]string{
		`1,2,3`:                         `{"a":"1","c.d":"3"}`,
		`,,`:                            `{"a":"","c.d":""}`,
		` 1 ,2, x y `:                   `{"a":" 1 ","c.d":" x y "}`,
		`"a ""b"", c",2,"d"`:            `{"a":"a \"b\", c","c.d":"d"}`,
		"\u00e9\uFFFD,\t,\x00\r\x1b":    `{"a":"é` + "\uFFFD" + `","c.d":"\u0000\r\u001b"}`,
		`1,2`:                           unfit,
		`1,2,3,4`:                       unfit,
		``:                              unfit,
		`"1,2,3`:                        unfit,
		`1",2,3`:                        unfit,
		`"1"x,2,3`:                      unfit,
		`{"a":1}`:                       unfit,
		long + "," + long + ",3":        `{"a":"` + long + `","c.d":"3"}`,
		long:                            unfit,
		`"` + long:                      unfit,
		strings.Repeat(",", 1<<20):      unfit,
		strings.Repeat(`"`, 1<<20):      unfit,
		`"` + long + `",` + `"",` + `"`: unfit,
	})
}

func TestRegexpMakesFieldsOfNamedGroups(t *testing.T) {
	try(t, mustNew(t, Spec{Syntax: Regexp, Pattern: `^(?P<verb>[A-Z]+) (\S+)(?: (?<code>\d+))?$`}), map[string]string{
		`GET /x 200`:  `{"verb":"GET","code":"200"}`,
		`GET /"é`:     `{"verb":"GET"}`, // a group that takes no part has no field
		`get /x 200`:  unfit,
		``:            unfit,
		`GET /x 200 `: unfit,
		`GET /x 200` + strings.Repeat("0", 1<<20): `{"verb":"GET","code":"200` + strings.Repeat("0", 1<<20) + `"}`,
	})
	try(t, mustNew(t, Spec{Syntax: Regexp, Pattern: `(?P<all>.*)`}), map[string]string{
		"\"\\\x00\uFFFD": `{"all":"\"\\\u0000` + "\uFFFD" + `"}`,
		``:               `{"all":""}`,
	})
	// It would take minutes.
	try(t, mustNew(t, Spec{Syntax: Regexp, Pattern: `(?P<a>(x*a*y*){900})b`}), map[string]string{strings.Repeat("a", 1<<20): unfit})
}

func TestLogfmtMakesFieldsOfPairs(t *testing.T) {
	var many, wantMany []string
	for i := range 100_000 {
		many = append(many, fmt.Sprintf("k%d=%d", i%60_000, i))
		if i < 60_000 {
			wantMany = append(wantMany, fmt.Sprintf(`"k%d":"%d"`, i, i))
		}
	}
	try(t, mustNew(t, Spec{Syntax: Logfmt}), map[string]string{
		`level=info msg="hello \"world\"\n" n=1.5 on`: `{"level":"info","msg":"hello \"world\"\n","n":"1.5","on":""}`,
		`a= b=""  c=x`:                     `{"a":"","b":"","c":"x"}`,
		`a=1 a=2 a=3`:                      `{"a":"1"}`,
		`a.b="\u00e9" é=` + "\uFFFD":       `{"a.b":"é","é":"` + "\uFFFD" + `"}`,
		"a=\"x\ty\"":                       `{"a":"x\ty"}`,
		`hello world`:                      unfit,
		``:                                 unfit,
		`=1`:                               unfit,
		`a=1 =2`:                           unfit,
		`a="1`:                             unfit,
		`a="1\`:                            unfit,
		`a=1"2`:                            unfit,
		`a=b=c`:                            unfit,
		`"a"=1`:                            unfit,
		"\uFFFD=1":                         unfit,
		"a=1\r":                            `{"a":"1"}`,
		`{"a":"=1"}`:                       unfit,
		`a=1 b ` + strings.Join(many, " "): `{"a":"1","b":"",` + strings.Join(wantMany, ",") + `}`,
		`a=` + strings.Repeat("x", 1<<20):  `{"a":"` + strings.Repeat("x", 1<<20) + `"}`,
		`a="` + strings.Repeat(`\"`, 1<<19) + `"`: `{"a":"` + strings.Repeat(`\"`, 1<<19) + `"}`,
		`a="` + strings.Repeat(`\`, 1<<20):        unfit,
		strings.Repeat("=", 1<<20):                unfit,
	})
}

func TestSyslogMakesFieldsOfRFC5424(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	try(t, mustNew(t, Spec{Syntax: Syslog}), map[string]string{
		"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \uFEFF'su root' failed on /dev/pts/8": `{"facility":4,"severity":2,"timestamp":"2003-10-11T22:14:15.003Z",` +
			`"hostname":"mymachine.example.com","appname":"su","msgid":"ID47","message":"'su root' failed on /dev/pts/8"}`,
		`<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time.`: `{"facility":20,"severity":5,"timestamp":"2003-08-24T05:14:15.000003-07:00",` +
			`"hostname":"192.0.2.1","appname":"myproc","procid":"8710","message":"%% It's time."}`,
		`<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App \"1\" [a\] \\"][b@1] x`: `{"facility":20,"severity":5,` +
			`"timestamp":"2003-10-11T22:14:15.003Z","hostname":"h","appname":"evntslog","msgid":"ID47",` +
			`"structured_data":{"b@1":{},"exampleSDID@32473":{"eventSource":"App \"1\" [a] \\","iut":"3"}},"message":"x"}`,
		`<0>1 - - - - - -`: `{"facility":0,"severity":0}`,
		"<191>1 - - - - - - \x1b[31mred\x00 é\uFFFD":                    `{"facility":23,"severity":7,"message":"\u001b[31mred\u0000 é` + "\uFFFD" + `"}`,
		`<34>1 - - - - - - ` + long:                                     `{"facility":4,"severity":2,"message":"` + long + `"}`,
		`<34>1 - - - - - - a` + strings.Repeat("é\uFFFD", 1<<18):        `{"facility":4,"severity":2,"message":"a` + strings.Repeat("é\uFFFD", 1<<18) + `"}`,
		`<192>1 - - - - - -`:                                            unfit,
		`<34>0 - - - - - -`:                                             unfit,
		`<34>1 - - - - -`:                                               unfit,
		`<34>1 yesterday - - - - - x`:                                   unfit,
		`<34>1 - - - - - [a b="1"`:                                      unfit,
		`<34>1 - - - - - [a b="1"][a b="2"] x`:                          unfit, // RFC 5424 §6.3.2
		`<34>1 - ` + long + ` - - - - x`:                                unfit,
		`<34>1 - - - - - [a b="` + long + `"] x`:                        unfit,
		`<34>1 - - - - - [a b="` + strings.Repeat(`\"`, 1<<19) + `"] x`: unfit, // the library would take minutes
	})
}

func TestSyslogMakesFieldsOfRFC3164(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	try(t, mustNew(t, Spec{Syntax: Syslog}), map[string]string{
		`<34>Oct 11 22:14:15 mymachine su: 'su root' failed`: `{"facility":4,"severity":2,"timestamp":"Oct 11 22:14:15","hostname":"mymachine","appname":"su","message":"'su root' failed"}`,
		`<13>Feb  5 17:32:18 10.0.0.99 sshd[123]: a: b [c]`:  `{"facility":1,"severity":5,"timestamp":"Feb  5 17:32:18","hostname":"10.0.0.99","appname":"sshd","procid":"123","message":"a: b [c]"}`,
		`<13>Feb 05 17:32:18.123 host app: x`:                `{"facility":1,"severity":5,"timestamp":"Feb 05 17:32:18.123","hostname":"host","appname":"app","message":"x"}`,
		`<13>2026-11-25T03:04:05.678+01:00 host app[1]: x`:   `{"facility":1,"severity":5,"timestamp":"2026-11-25T03:04:05.678+01:00","hostname":"host","appname":"app","procid":"1","message":"x"}`,
		`<13>Oct  1 22:14:15 root: hello`:                    `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","appname":"root","message":"hello"}`,
		`<13>Oct  1 22:14:15 host just: words`:               `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"just","message":"words"}`,
		`<13>Oct  1 22:14:15 host no tag at all`:             `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","message":"no tag at all"}`,
		`<13>Oct  1 22:14:15 host app:tight`:                 `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app","message":"tight"}`,
		`<13>Oct  1 22:14:15 host app: app:twice`:            `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app","message":"app:twice"}`,
		`<13>Oct  1 22:14:15 host app[12]:tight`:             `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app","procid":"12","message":"tight"}`,
		`<13>Oct  1 22:14:15 host foo[bar baz`:               `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","message":"foo[bar baz"}`,
		`<13>Oct  1 22:14:15 host app:`:                      `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app"}`,
		"<13>Oct  1 22:14:15 host app: \x1b[31mred\r\x00 é":  `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app","message":"\u001b[31mred\r\u0000 é"}`,
		`<13>Oct  1 22:14:15 host app: ` + long:              `{"facility":1,"severity":5,"timestamp":"Oct  1 22:14:15","hostname":"host","appname":"app","message":"` + long + `"}`,
		`<13>hello`:                                          unfit,
		`hello`:                                              unfit,
		``:                                                   unfit,
		`<`:                                                  unfit,
		`<>`:                                                 unfit,
		`<13>`:                                               unfit,
		`<13>Oct 41 22:14:15 host app: x`:                    unfit,
		`<999>Oct 11 22:14:15 host app: x`:                   unfit,
		`Oct 11 22:14:15 host app: x`:                        unfit,
		`<13>Oct 11 22:14:15`:                                unfit,
		`<13>` + strings.Repeat(" ", 1<<20):                  unfit,
		`<13>2026-11-25T03:04:05` + long + ` h x`:            unfit,
		strings.Repeat("<", 1<<20):                           unfit,
	})
}

func TestSpecThatWouldFitNoLineIsAnError(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, "csv, regexp, logfmt, syslog"},
		{Spec{Syntax: "json"}, `not "json"`},
		{Spec{Syntax: CSV}, "name at least one column"},
		{Spec{Syntax: CSV, Columns: []string{"-", "-"}}, "name at least one column"},
		{Spec{Syntax: CSV, Columns: []string{"a", "b", "a"}}, `column "a" is given twice`},
		{Spec{Syntax: CSV, Columns: []string{"a", ""}}, "must have a name"},
		{Spec{Syntax: CSV, Columns: []string{"\xff"}}, "must have a name"},
		{Spec{Syntax: CSV, Columns: []string{"a"}, Pattern: "x"}, "a pattern is for regexp"},
		{Spec{Syntax: Regexp}, "named groups"},
		{Spec{Syntax: Regexp, Pattern: "(a)"}, "no named group"},
		{Spec{Syntax: Regexp, Pattern: "(?P<a>"}, "missing closing )"},
		{Spec{Syntax: Regexp, Pattern: "(?P<a>.)(?P<a>.)"}, `group "a" is given twice`},
		{Spec{Syntax: Regexp, Pattern: `(?P<a>.)\1`}, "invalid escape"},
		{Spec{Syntax: Regexp, Pattern: "(?P<a>.)", Columns: []string{"a"}}, "columns are for csv"},
		{Spec{Syntax: Logfmt, Columns: []string{"a"}}, "columns are for csv"},
		{Spec{Syntax: Syslog, Pattern: "x"}, "a pattern is for regexp"},
	} {
		if _, err := New(c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.spec, err, c.want)
		}
	}
}
