package records

import (
	"strings"
	"testing"
)

func TestJSONValuesOneAfterAnother(t *testing.T) {
	run(t, JSON, []vector{
		{name: "nothing between", in: `{"a":1}{"b":[2]}"c"3`, want: `"{\"a\":1}" "{\"b\":[2]}" "\"c\"" "3"`},
		{name: "pretty-printed", in: "{\r\n  \"a\": [\n\t1,\n\t2\n  ]\r\n}\n{\n}\n", want: `"{\"a\":[1,2]}" "{}"`},
		{name: "white space in strings stays", in: `{"a b" : " c  d "}`, want: `"{\"a b\":\" c  d \"}"`},
		{name: "escapes", in: `["\"","\\","\\\"]","a\u0022]{"]`, want: `"\"\\\"\"" "\"\\\\\"" "\"\\\\\\\"]\"" "\"a\\u0022]{\""`},
		{name: "long strings", in: `"0123456789abcdef\"0123456789abcdef" 1`, want: `"\"0123456789abcdef\\\"0123456789abcdef\"" "1"`},
		{name: "array elements are records", in: `[{"a":1}, [2, 3],4 ,"x",null]`, want: `"{\"a\":1}" "[2,3]" "4" "\"x\"" "null"`},
		{name: "empty arrays", in: `[][ ]1`, want: `"1"`},
		{name: "array after array", in: `[1][2] 3`, want: `"1" "2" "3"`},
		{name: "scalars", in: "1 -2.5e+3\ntrue false\nnull", want: `"1" "-2.5e+3" "true" "false" "null"`},
		{name: "number broken off", in: "1 2", dirty: true, want: `"1"`},
		{name: "object broken off", in: `{"a":1}{"b"`, dirty: true, want: `"{\"a\":1}"`},
		{name: "object cut at a clean end", in: `{"a":1}{"b"`, want: `"{\"a\":1}" "{\"b\""`},
		{name: "blank lines", in: "\n{}\n\n[1,\n\n2]\n", want: `blank "{}" blank "1" blank "2"`},
		{name: "control character", in: "\x1e", want: `"\x1e"`},
	})
}

func TestWhatIsNoJSONDoesNotTakeTheNextValueAlong(t *testing.T) {
	run(t, JSON, []vector{
		{name: "word", in: `{"a":1} hello {"b":2}`, want: `"{\"a\":1}" "hello" "{\"b\":2}"`},
		{name: "punctuation", in: `{"a":1},{"b":2}]}: 1`, want: `"{\"a\":1}" "{\"b\":2}" "}:" "1"`},
		{name: "in an array", in: `[1,,:}x,{}] 2`, want: `"1" ":}" "x" "{}" "2"`},
		{name: "missing commas", in: `[1 2 {}"a"] 3`, want: `"1" "2" "{}" "\"a\"" "3"`},
		{name: "cut after a value", in: "{\"a\":1\n{\"b\":2}\n", want: `"{\"a\":1" "{\"b\":2}"`},
		{name: "cut after a colon", in: "{\"a\":\n{\"b\":2}\n{\"c\":3}\n", want: `"{\"a\":{\"b\":2}" "{\"c\":3}"`},
		{name: "cut in a string", in: "{\"a\":\"x\n{\"b\":2}\n", want: `"{\"a\":\"x" "{\"b\":2}"`},
		{name: "cut in a string, CRLF", in: "{\"a\":\"x\r\n{\"b\":2}\r\n", want: `"{\"a\":\"x" "{\"b\":2}"`},
		{name: "cut after a backslash", in: "\"x\\\n\"y\"\n", want: `"\"x\\" "\"y\""`},
		{name: "cut in a number", in: "{\"a\":12\n\"b\" 3", want: `"{\"a\":12" "\"b\"" "3"`},
		{name: "white space never joins numbers", in: `{"a":[1 2]}`, want: `"{\"a\":[1" "2" "}"`},
		{name: "from within an array", in: ",\n{\"a\":2},\n3] {\"b\":4}", want: `"{\"a\":2}" "3" "{\"b\":4}"`},
		{name: "tab in a string", in: "\"a\tb\x01\" 1", want: `"\"a\tb\x01\"" "1"`},
		{name: "brackets of the wrong kind", in: `{"a":1] {"b":2}`, want: `"{\"a\":1]" "{\"b\":2}"`},
	})
}

func TestJSONSequence(t *testing.T) {
	run(t, JSONSeq, []vector{
		{name: "records", in: "\x1e{\"a\":1}\n\x1e[2]\n\x1e\"c\"\n\x1e4\n", want: `"{\"a\":1}" "[2]" "\"c\"" "4"`},
		{name: "pretty-printed", in: "\x1e{\n  \"a\": 1\n}\n\x1e{}\n", want: `"{\n  \"a\": 1\n}" "{}"`},
		{name: "surrounding space", in: "\x1e \r\n {} \r\n \x1e\t1\t", want: `"{}" "1"`},
		{name: "without LF", in: "\x1e{\"a\":1}\x1e[2]\x1e\"c\"", want: `"{\"a\":1}" "[2]" "\"c\""`},
		{name: "consecutive RS", in: "\x1e\x1e\x1e1\n\x1e\x1e\n", want: `"1"`},
		{name: "first RS missing", in: "1\n\x1e2\n", want: `"1" "2"`},
		{name: "no RS at all", in: "{\"a\":1}\n{\"b\":2}\n", want: `"{\"a\":1}" "{\"b\":2}"`},
		{name: "cut scalars are dropped", in: "\x1e12\x1etru\x1enull\x1e1 \x1e-3", want: `"1"`},
		{name: "cut object", in: "\x1e{\"a\":\"x\x1e{}\n", want: `"{\"a\":\"x" "{}"`},
		{name: "cut object at a clean end", in: "\x1e{\"a\":", want: `"{\"a\":"`},
		{name: "broken off", in: "\x1e{}\n\x1e{}", dirty: true, want: `"{}"`},
		{name: "escapes", in: "\x1e\"a\\\"\\\\\"\n\x1e1\n", want: `"\"a\\\"\\\\\"" "1"`},
		{name: "RS after a backslash", in: "\x1e\"a\\\x1e1\n", want: `"\"a\\" "1"`},
		{name: "line break in a string", in: "\x1e\"a\nb\r\"\n", want: `"\"a\nb\r\""`},
		{name: "no JSON", in: "\x1ehello big world\n\x1e{\"a\":1} {\"b\":2}\n\x1e1\r2 \r\n", want: `"hello big world" "{\"a\":1} {\"b\":2}" "1\r2"`},
		{name: "LF after what is cut", in: "\x1e{\"a\":1\n\x1e\"un\r\n\x1e{\"b\":[ \n", want: `"{\"a\":1" "\"un" "{\"b\":["`},
		{name: "garbage", in: "\x1ehello\n\x1e}}\n\x1e{}{}\n", want: `"hello" "}}" "{}{}"`},
		{name: "blank lines", in: "\n\x1e1\n\n\n", want: `blank "1" blank blank`},
	})
}

// The vectors of web-platform-tests/eventsource that concern the parser, and
// the examples of WHATWG HTML §9.2.6.
func TestEventStream(t *testing.T) {
	run(t, EventStream, []vector{
		{name: "spec: three lines", in: "data: YHOO\ndata: +2\ndata: 10\n\n", want: `"YHOO\n+2\n10"`},
		{name: "spec: comment, id, reset", in: ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
			want: `blank "first event" id=1 "second event" id= " third event"`},
		{name: "spec: empty data", in: "data\n\ndata\ndata\n\ndata:", want: `"" "\n"`},
		{name: "spec: optional space", in: "data:test\n\ndata: test\n\n", want: `"test" "test"`},
		{name: "CR", in: "data:a\r\rdata:b\rdata:c\r\r", want: `"a" "b\nc"`},
		{name: "CRLF", in: "data:a\r\n\r\ndata:b\r\ndata:c\r\n\r\n", want: `"a" "b\nc"`},
		{name: "format-newlines", in: "data:test\r\ndata\ndata:test\r\n\r\n", want: `"test\n\ntest"`},
		{name: "format-mime-bom", in: "\xEF\xBB\xBFdata:1\n\n\xEF\xBB\xBFdata:2\n\ndata:3\n\n", want: `"1" "3"`},
		{name: "format-bom-2", in: "\xEF\xBB\xBF\xEF\xBB\xBFdata:1\n\ndata:2\n\ndata:3\n\n", want: `"2" "3"`},
		{name: "format-comments", in: "data:1\r:\x00\n:\r\ndata:2\n:xxxxxxxxxxxxxxxxxxxx\rdata:3\n:data:fail\r:x\ndata:4\n\n",
			want: `blank blank blank blank blank "1\n2\n3\n4"`},
		{name: "format-field-data", in: "data:\n\ndata\ndata\n\ndata:test\n\n", want: `"" "\n" "test"`},
		{name: "format-field-event", in: "event:test\ndata:x\n\ndata:x\n\n", want: `"x" event=test "x"`},
		{name: "format-field-event-empty", in: "event: \ndata:data\n\n", want: `"data"`},
		{name: "format-field-id", in: "id: \u2026\ndata:1\n\ndata:2\n\n", want: `"1" id=… "2"`},
		{name: "format-field-id-null", in: "id: a\x00b\ndata:x\n\nid:1\nid: a\x00\ndata:y\n\n", want: `"x" "y" id=1`},
		{name: "format-field-parsing", in: "data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
			want: `"\x00\n 2\n1\n3\n\n4"`},
		{name: "format-field-retry", in: "retry:03000\ndata:x\n\n", want: `retry=3000 "x"`},
		{name: "format-field-retry-bogus", in: "retry:3000\nretry:1000x\ndata:x\n\n", want: `retry=3000 "x"`},
		{name: "format-field-retry-empty", in: "retry\nretry:\nretry: -1\nretry:1e3\ndata:x\n\n", want: `"x"`},
		{name: "retry within an event", in: "data:a\nretry: 5\ndata:b\n\n", want: `retry=5 "a\nb"`},
		{name: "retry of more digits than a timer takes", in: "retry: 999999999999999\nretry: 9999999999999999\n", want: `retry=999999999999999`},
		{name: "format-field-unknown", in: "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n", want: `blank "test\n\ntest"`},
		{name: "format-leading-space", in: "data:\ttest\rdata: \ndata:test\n\n", want: `"\ttest\n\ntest"`},
		{name: "format-null-character", in: "data:\x00\n\n\n\n", want: `"\x00" blank blank`},
		{name: "format-utf-8", in: "data:ok\u2026\n\n", want: `"ok…"`},
		{name: "comment within an event", in: "data:a\n:\ndata:b\n\n", want: `blank "a\nb"`},
		{name: "event without data", in: "event:a\nid:7\n\ndata:x\n\n", want: `position=7 "x" id=7`},
		{name: "id without event, once", in: "data:a\n\nid:7\n\nevent:b\n\n", want: `"a" position=7`},
		{name: "last event type wins", in: "event:a\nevent:b\ndata:x\n\n", want: `"x" event=b`},
		{name: "format-data-before-final-empty-line", in: "retry:1000\ndata:test1\n\nid:test\ndata:test2", want: `retry=1000 "test1"`},
		{name: "last event without its blank line", in: "data:a\n\nid:2\ndata:b\n", want: `"a"`},
		{name: "last event broken off", in: "data:a\n\ndata:b\n", dirty: true, want: `"a"`},
		{name: "last line a comment", in: "data:a\n:b", want: ``},
		{name: "last line a name", in: "data:a\n\nid", want: `"a"`},
		{name: "heartbeats", in: "\n:\n\n:\n\n", want: `blank blank blank`},
	})
}

func TestEventStreamIgnoresAnIDTooLongForAHeader(t *testing.T) {
	long := make([]byte, maxFieldSize+1)
	for i := range long {
		long[i] = 'a'
	}
	run(t, EventStream, []vector{
		{name: "too long", in: "id:1\nid:" + string(long) + "\nevent:" + string(long) + "\ndata:x\n\n", want: `"x" id=1`},
		{name: "just not", in: "id:" + string(long[1:]) + "\ndata:x\n\n", want: `"x" id=` + string(long[1:])},
	})
}

func TestEventStreamTellsOfFieldsThatNobodyCanBeSent(t *testing.T) {
	s := New(Options{Format: EventStream})
	s.Feed([]byte("id: a\x00\n\nevent: " + strings.Repeat("x", maxFieldSize+1) + "\ndata: 1\n\ndata: 2\n\n"))
	for _, want := range []bool{true, false} {
		var rec Record
		if s.Next(&rec) != IsRecord || rec.IDDropped != want || rec.EventDropped != want {
			t.Errorf("%s: id dropped %v, event dropped %v, want %v", rec.Text, rec.IDDropped, rec.EventDropped, want)
		}
	}
}

func TestEventStreamKeepsDataWhenAChunkEndsInAComment(t *testing.T) {
	const first = "data:a\n:\n"
	got := split(t, Options{Format: EventStream, MaxSize: 100}, []byte(first+"\n"), true, len(first))
	if len(got) != 2 || got[1].text != "a" {
		t.Errorf("%v", got)
	}
}
