package records

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// seen is one token as a test compares it.
type seen struct {
	token     Token
	text      string
	id, event string // "-" where nil
	end       int64
	truncated bool
	retry     int64
}

func (s seen) String() string {
	switch s.token {
	case IsBlank:
		return "blank"
	case IsRetry:
		return fmt.Sprintf("retry=%d", s.retry)
	case IsID:
		return "position=" + s.id
	case IsSkipped:
		return "skipped"
	case IsTooLarge:
		return "too large"
	}
	out := fmt.Sprintf("%q", s.text)
	if s.truncated {
		out += " truncated"
	}
	if s.id != "-" {
		out += " id=" + s.id
	}
	if s.event != "-" {
		out += " event=" + s.event
	}
	return out
}

func orDash(b []byte) string {
	if b == nil {
		return "-"
	}
	return string(b)
}

// split feeds data in chunks of the given sizes, over and over; none is one
// chunk of all. It checks what holds for every stream.
func split(t testing.TB, o Options, data []byte, clean bool, sizes ...int) []seen {
	t.Helper()
	s := New(o)
	var (
		all   []seen
		rec   Record
		last  int64
		fed   int64
		limit = 2*len(data) + 2
		drain = func() {
			for {
				token := s.Next(&rec)
				got := seen{token: token, id: "-", event: "-"}
				switch token {
				case NeedMore:
					return
				case IsTooLarge:
					all = append(all, got)
					if again := s.Next(&rec); again != IsTooLarge {
						t.Fatalf("after IsTooLarge: %d", again)
					}
					return
				case IsRecord:
					got = seen{token, string(rec.Text), orDash(rec.ID), orDash(rec.Event), rec.End, rec.Truncated, 0}
					if !utf8.Valid(rec.Text) {
						t.Fatalf("%q is not valid UTF-8", rec.Text)
					}
					if len(rec.Text) > o.MaxSize {
						t.Fatalf("%q has %d bytes, more than %d", rec.Text, len(rec.Text), o.MaxSize)
					}
					if rec.OneLine && bytes.ContainsAny(rec.Text, "\r\n") {
						t.Fatalf("%q is said to be one line", rec.Text)
					}
				case IsBlank:
					got.end = rec.End
				case IsRetry:
					got.retry = rec.Retry
				case IsID:
					got.id = orDash(rec.ID)
				}
				if token == IsRecord || token == IsBlank {
					if got.end < last || got.end > fed {
						t.Fatalf("End %d is not within %d and %d", got.end, last, fed)
					}
					last = got.end
				}
				all = append(all, got)
				if len(all) > limit {
					t.Fatalf("more tokens than bytes")
				}
				if cap(s.carry) > o.MaxSize+1 {
					t.Fatalf("%d bytes are kept", cap(s.carry))
				}
			}
		}
	)
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if len(sizes) > 0 {
			n = min(n, max(sizes[i%len(sizes)], 1))
		}
		// A chunk of its own, spoilt afterwards, as a reader's buffer is.
		chunk := bytes.Clone(data[:n])
		data = data[n:]
		fed += int64(n)
		s.Feed(chunk)
		drain()
		for k := range chunk {
			chunk[k] = '!'
		}
		if len(all) > 0 && all[len(all)-1].token == IsTooLarge {
			return all
		}
	}
	s.Finish(clean)
	drain()
	return all
}

func charset(t testing.TB, name string) *Charset {
	t.Helper()
	c, err := LookupCharset(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type vector struct {
	name  string
	in    string
	want  string // tokens as seen prints them, joined with a blank
	dirty bool   // the upstream breaks off
	max   int    // default 1000
	over  Oversize
	from  string // charset
}

// run checks each vector in one chunk, byte by byte and in chunks of 3.
func run(t *testing.T, f Format, vectors []vector) {
	t.Helper()
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			o := Options{Format: f, Charset: charset(t, v.from), MaxSize: v.max, Oversize: v.over}
			if o.MaxSize == 0 {
				o.MaxSize = 1000
			}
			for _, size := range []int{len(v.in) + 1, 1, 3} {
				var got []string
				for _, s := range split(t, o, []byte(v.in), !v.dirty, size) {
					got = append(got, s.String())
				}
				if joined := strings.Join(got, " "); joined != v.want {
					t.Errorf("%q in chunks of %d:\n got %s\nwant %s", v.in, size, joined, v.want)
				}
			}
		})
	}
}

func TestLinesEndAtLF(t *testing.T) {
	run(t, Lines, []vector{
		{name: "empty stream", in: "", want: ``},
		{name: "two lines", in: "a\nbc\n", want: `"a" "bc"`},
		{name: "CRLF", in: "a\r\nb\r\n", want: `"a" "b"`},
		{name: "only one CR is dropped", in: "a\r\r\n", want: `"a\r"`},
		{name: "other CRs stay", in: "a\rb\n", want: `"a\rb"`},
		{name: "blank lines", in: "\na\n\r\n \n", want: `blank "a" blank " "`},
		{name: "last line without LF", in: "a\nb", want: `"a" "b"`},
		{name: "last line with half a CRLF", in: "a\r", want: `"a"`},
		{name: "last line broken off", in: "a\nb", dirty: true, want: `"a"`},
		{name: "NUL", in: "a\x00b\n", want: `"a\x00b"`},
		{name: "other line breaks are text", in: "a\vb\fc\u0085d\u2028e\n", want: "\"a\\vb\\fc\\u0085d\\u2028e\""},
	})
}

func TestNDJSONTakesWhiteSpaceLinesForBlank(t *testing.T) {
	run(t, NDJSON, []vector{
		{name: "records", in: "{\"a\": 1}\r\n[2]\n", want: `"{\"a\": 1}" "[2]"`},
		{name: "white space", in: " \t\r\n1\n\n", want: `blank "1" blank`},
		{name: "other spaces are not JSON's", in: "\u00a0\n\v\n", want: "\"\\u00a0\" \"\\v\""},
		{name: "not validated", in: "hello\n", want: `"hello"`},
	})
}

func TestLeadingBOMIsDroppedOnce(t *testing.T) {
	const bom = "\xEF\xBB\xBF"
	run(t, Lines, []vector{
		{name: "utf-8", in: bom + "a\n", want: `"a"`},
		{name: "only once", in: bom + bom + "a\n", want: `"\ufeffa"`},
		{name: "not later", in: "a\n" + bom + "b\n", want: `"a" "\ufeffb"`},
		{name: "alone", in: bom, want: ``},
		{name: "alone on a line", in: bom + "\n", want: `blank`},
		{name: "half, then text", in: "\xEF\xBBa\n", want: "\"\uFFFDa\""},
		{name: "half, then the end", in: "\xEF\xBB", want: "\"\uFFFD\""},
		{name: "utf-8 in a legacy charset", in: bom + "\u00e9\n", from: "windows-1252", want: `"é"`},
		{name: "utf-16le", in: "\xFF\xFEa\x00\n\x00", from: "utf-16", want: `"a"`},
		{name: "utf-16be under the other name", in: "\xFE\xFF\x00a\x00\n", from: "utf-16le", want: `"a"`},
		{name: "utf-16 in utf-8 is damage", in: "\xFF\xFEa\n", want: "\"\uFFFD\uFFFDa\""},
	})
}

func TestInvalidUTF8BecomesReplacementCharacters(t *testing.T) {
	for _, v := range []struct{ in, want string }{
		{"\xE2\x82\x41", "\uFFFDA"},
		{"\xF0\x80\x80\x41", "\uFFFD\uFFFD\uFFFDA"},
		{"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"\xC0\xAF", "\uFFFD\uFFFD"},
		{"\xFF", "\uFFFD"},
		{"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xF1\x80\x80\xE1\x80\xC2b\x80c\x80\xBFd", "\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd"}, // Unicode table 3-11
		{"\xF0\x9F\x98", "\uFFFD"},
		{"a\xE2", "a\uFFFD"},
		{"gr\u00fc\u00dfe \u20ac \U0001F600", "gr\u00fc\u00dfe \u20ac \U0001F600"},
	} {
		for _, size := range []int{100, 1, 2} {
			for _, end := range []string{"\n", ""} {
				got := split(t, Options{Format: Lines, MaxSize: 100}, []byte(v.in+end), true, size)
				if len(got) != 1 || got[0].text != v.want {
					t.Errorf("%x in chunks of %d: %v, want %q", v.in+end, size, got, v.want)
				}
			}
		}
	}
}

func TestLegacyCharsetsAreDecoded(t *testing.T) {
	for _, v := range []struct{ name, in, want string }{
		{"windows-1252", "caf\xe9 \x80\r\n\nx\xff", "café €|blank|xÿ"},
		{"iso-8859-1", "\xe9\n", "é"},
		{"koi8-r", "\xf0\xd2\xc9\xd7\xc5\xd4\n", "Привет"},
		{"shift_jis", "\x83\x5c\x83\x7b\n\x93\xfa\x96\x7b\n", "ソボ|日本"},
		{"shift_jis", "\x83\n\x41\n", "\uFFFD|A"},
		{"euc-jp", "\xc6\xfc\xcb\xdc\n", "日本"},
		{"gb18030", "\xd6\xd0\x81\x30\x81\x30\n", "中\u0080"},
		{"big5", "\xa4\xa4\n", "中"},
		{"euc-kr", "\xc7\xd1\n", "한"},
		{"iso-2022-jp", "\x1b$BF|K\\\x1b(B!\nb\x1b$BF|\n\x1b(Bc\n", "日本!|b日|c"},
		{"utf-16le", "\xe9\x00\x0a\x0a\r\x00\n\x00\x3d\xd8\x00\xde\n\x00", "\u00e9\u0a0a|\U0001F600"},
		{"utf-16be", "\x00\xe9\x00\n\x0a\x00\x00\n", "é|\u0a00"},
		{"utf-16le", "\x3d\xd8a\x00\n\x00x", "\uFFFDa|\uFFFD"},
	} {
		o := Options{Format: Lines, Charset: charset(t, v.name), MaxSize: 100}
		for _, size := range []int{100, 1, 3} {
			var got []string
			for _, s := range split(t, o, []byte(v.in), true, size) {
				if s.token == IsBlank {
					s.text = "blank"
				}
				got = append(got, s.text)
			}
			if joined := strings.Join(got, "|"); joined != v.want {
				t.Errorf("%s %x in chunks of %d: %q, want %q", v.name, v.in, size, joined, v.want)
			}
		}
	}
}

// A file is read on from a record's End after a restart: it must be exact in
// the bytes of the file, in any charset.
func TestEndCountsSourceBytes(t *testing.T) {
	for _, v := range []struct {
		charset string
		format  Format
		pieces  []string // each a record and its terminator
	}{
		{"utf-8", Lines, []string{"\xEF\xBB\xBFa\n", "\xffb\r\n", "\n", "日本\n", "c"}},
		{"utf-8", JSON, []string{"[1", ",{\"a\" : 2}", " , \"\xff\""}},
		{"utf-8", JSONSeq, []string{"\x1e1\n", "\x1e{}", "\x1e[]\n"}},
		{"utf-8", EventStream, []string{"data: a\n\n", "id: 1\rdata:b\r\r"}},
		{"windows-1252", Lines, []string{"\xe9\xe9\n", "\x80\n", "a\n"}},
		{"windows-1252", JSON, []string{"\"\xe9\"", "\"\xe8\"", " {\"\x80\" :1}"}},
		{"shift_jis", JSON, []string{"\"\x83\x5c\"", "\"\x83\x7b\"", " \"\x83\x7d\""}},
		{"shift_jis", JSONSeq, []string{"\x1e\"\x83\x5c\"\n", "\x1e\"\x83\x7b\"", "\x1e\"\x83\x7d\"\n"}},
		{"iso-2022-jp", Lines, []string{"\x1b$BF|K\\\x1b(B\n", "b\n", "\x1b$BF|\x1b(B\n"}},
		{"utf-16le", Lines, []string{"\xff\xfe\xe9\x00\n\x00", "\x3d\xd8\x00\xde\n\x00", "a\x00"}},
		{"utf-16be", JSON, []string{"\x00\"\x00\xe9\x00\"", "\x00\"\x30\x42\x00\"", "\x00{\x00}"}},
	} {
		// Longer than what a legacy charset is decoded to at once.
		var data []byte
		var want []int64
		for range 300 {
			for _, p := range v.pieces {
				data = append(data, p...)
				want = append(want, int64(len(data)))
			}
			if v.format == Lines || v.format == EventStream || v.format == JSON && v.pieces[0][0] == '[' {
				break // a BOM, a last line or an open array stands only once
			}
		}
		o := Options{Format: v.format, Charset: charset(t, v.charset), MaxSize: 100}
		for _, size := range []int{len(data), 1, 5} {
			got := split(t, o, data, true, size)
			if len(got) != len(want) {
				t.Errorf("%s %s: %d tokens, want %d: %v", v.charset, v.format, len(got), len(want), got)
				continue
			}
			for i, s := range got {
				if s.end != want[i] {
					t.Errorf("%s %s in chunks of %d: record %d ends at %d, want %d", v.charset, v.format, size, i, s.end, want[i])
					break
				}
			}
		}
	}
}

func TestRecordOverMaxSize(t *testing.T) {
	run(t, Lines, []vector{
		{name: "exactly", in: "abc\nabc\r\nabc", max: 3, want: `"abc" "abc" "abc"`},
		{name: "skip", in: "a\nabcd\nb\n", max: 3, want: `"a" skipped "b"`},
		{name: "skip long", in: "abcdefghijkl\n\nb\n", max: 3, want: `skipped blank "b"`},
		{name: "skip the last", in: "abcdefghijkl", max: 3, want: `skipped`},
		{name: "skip each", in: "abcd\nabcd\n", max: 3, want: `skipped skipped`},
		{name: "a CR counts unless dropped", in: "abc\rd\n", max: 3, want: `skipped`},
		{name: "truncate", in: "abcdef\nb\nabcd", max: 3, over: Truncate, want: `"abc" truncated "b" "abc" truncated`},
		{name: "truncate at a character", in: "aé€\nabé\n€€\n", max: 4, over: Truncate, want: `"aé" truncated "abé" "€" truncated`},
		{name: "truncate to nothing", in: "€\n", max: 2, over: Truncate, want: `"" truncated`},
		{name: "truncate a replacement", in: "a\xff\xff\n", max: 4, over: Truncate, want: "\"a\uFFFD\" truncated"},
		{name: "truncate, broken off", in: "abcdef", max: 3, over: Truncate, dirty: true, want: ``},
		{name: "error", in: "a\nabcd\nb\n", max: 3, over: Fail, want: `"a" too large`},
		{name: "error without end", in: "abcdef", max: 3, over: Fail, dirty: true, want: `too large`},
		{name: "legacy text counts as UTF-8", in: "\xe9\xe9\n\xe9\xe9a\n", max: 4, from: "windows-1252", want: `"éé" skipped`},
	})
	run(t, JSON, []vector{
		{name: "json, exactly", in: `{ "a" : 1 }  [1]`, max: 7, want: `"{\"a\":1}" "1"`},
		{name: "json, skip", in: `{"a":12} {"b":1}`, max: 7, want: `skipped "{\"b\":1}"`},
		{name: "json, skip long", in: `{"a":[1,2,"}]"],"b":"ccccccc"} {"b":1}`, max: 7, want: `skipped "{\"b\":1}"`},
		{name: "json, truncate", in: `{"a":[1,2,"}]"],"b":"ccccccc"} {"b":1}`, max: 7, over: Truncate, want: `"{\"a\":[1" truncated "{\"b\":1}"`},
		{name: "json, white space is free", in: "{" + strings.Repeat(" \n", 99) + "}" + strings.Repeat(" ", 99), max: 2, want: `"{}"`},
	})
	run(t, JSONSeq, []vector{
		{name: "json_seq, skip", in: "\x1e{\"a\":\n12}\n\x1e{}\n", max: 7, want: `skipped "{}"`},
		{name: "json_seq, a long cut number", in: "\x1e12345678\x1e{}\n", max: 7, want: `skipped "{}"`},
		{name: "json_seq, white space after it", in: "\x1e{}   \r\n\x1e1234567\r\n\x1e1      2\n", max: 7, want: `"{}" "1234567" skipped`},
		{name: "json_seq, truncate to white space", in: "\x1e1          2\n", max: 7, over: Truncate, want: `"1" truncated`},
		{name: "json_seq, truncate", in: "\x1e{\"a\":\n12}\n\x1e{}\n", max: 7, over: Truncate, want: `"{\"a\":\n1" truncated "{}"`},
	})
	run(t, EventStream, []vector{
		{name: "event_stream, exactly", in: "data:ab\ndata:c\n\n", max: 4, want: `"ab\nc"`},
		{name: "event_stream, skip keeps the id", in: "id:1\nevent:x\ndata:abcd\ndata:efgh\n\ndata:b\n\n", max: 4, want: `skipped "b" id=1`},
		{name: "event_stream, skip before a comment", in: "data:abcde\n:c\ndata:f\n\ndata:b\n\n", max: 4, want: `skipped blank "b"`},
		{name: "event_stream, truncate before a comment", in: "data:abcde\n:c\ndata:f\n\n", max: 4, over: Truncate, want: `blank "abcd" truncated`},
		{name: "event_stream, truncate", in: "data:ab\ndata:cdef\n\ndata:b\n\n", max: 4, over: Truncate, want: `"ab\nc" truncated "b"`},
		{name: "event_stream, error", in: "data:ab\ndata:cdef\n\ndata:b\n\n", max: 4, over: Fail, want: `too large`},
		{name: "event_stream, a comment takes no room", in: ":" + strings.Repeat("c", 99) + "\ndata:b\n\n", max: 4, want: `blank "b"`},
	})
}

// The memory for an unfinished record must not grow with the record.
func TestEndlessRecordTakesBoundedMemory(t *testing.T) {
	const size = 64 << 10
	for _, v := range []struct {
		format     Format
		head, body string
	}{
		{Lines, "", "abcdefgh"},
		{NDJSON, "{", "abcdefgh"},
		{JSON, "", "[1,[[["},
		{JSON, "{", "           "},
		{JSON, "\"", "abcdefgh"},
		{JSON, "", "12345678"},
		{JSON, "", "]]]]]]]]"},
		{JSONSeq, "\x1e", "{{{{{{{{"},
		{JSONSeq, "\x1e[", "        "},
		{EventStream, "data:", "abcdefgh"},
		{EventStream, "id:", "abcdefgh"},
		{EventStream, "", "abcdefgh"},
		{EventStream, "", "data\n"},
	} {
		for _, over := range []Oversize{Skip, Truncate} {
			s := New(Options{Format: v.format, MaxSize: size, Oversize: over})
			s.Feed([]byte(v.head))
			chunk := []byte(strings.Repeat(v.body, 4000))
			var rec Record
			for range 100 {
				for s.Next(&rec) != NeedMore {
				}
				s.Feed(chunk)
			}
			if kept := cap(s.carry) + cap(s.event.line.value) + cap(s.event.id.value); kept > size+1+2*maxFieldSize {
				t.Errorf("%s %q %q: %d bytes are kept", v.format, v.head, v.body, kept)
			}
		}
	}
}

func TestWaitingStreamDoesNotHoldALargeBuffer(t *testing.T) {
	s := New(Options{Format: Lines, MaxSize: 1 << 20})
	half := bytes.Repeat([]byte("a"), 300<<10)
	var rec Record
	s.Feed(half)
	if token := s.Next(&rec); token != NeedMore || len(s.carry) != len(half) {
		t.Fatalf("%d, %d bytes are kept", token, len(s.carry))
	}
	s.Feed(append(half, '\n'))
	if token := s.Next(&rec); token != IsRecord || len(rec.Text) != 2*len(half) {
		t.Fatalf("%d, %d bytes", token, len(rec.Text))
	}
	if token := s.Next(&rec); token != NeedMore || cap(s.carry) > idleSize {
		t.Errorf("%d, %d bytes are kept", token, cap(s.carry))
	}
}

func TestCleanChunksAreSplitWithoutACopy(t *testing.T) {
	for _, v := range []struct {
		format Format
		in     string
	}{
		{Lines, "one\ntwo\n"},
		{Lines, "grün\nrot\n"},
		{NDJSON, "{\"a\":1}\n[]\n"},
		{JSON, "{\"a\":1}[\"b\",\"c\"]"},
		{JSONSeq, "\x1e{\"a\":1}\n\x1e\"b\"\n"},
		{EventStream, "data: a\n\nid: 1\ndata: b\n\n"},
	} {
		s := New(Options{Format: v.format, MaxSize: 100})
		chunk := []byte(v.in)
		var rec Record
		records := 0
		if n := testing.AllocsPerRun(10, func() {
			s.Feed(chunk)
			for s.Next(&rec) == IsRecord {
				records++
				if !rec.OneLine {
					t.Errorf("%s: %q is not known to be one line", v.format, rec.Text)
				}
			}
			if len(s.carry) > 0 {
				t.Errorf("%s: %q is kept", v.format, s.carry)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", v.format, n)
		}
		if records == 0 {
			t.Errorf("%s: no records", v.format)
		}
		if cap(s.carry) > 0 {
			t.Errorf("%s: something was copied", v.format)
		}
	}
}
