package records

import (
	"strings"
	"testing"
)

func TestContentTypeDecidesTheFormat(t *testing.T) {
	for _, v := range []struct {
		contentType string
		format      Format
		announced   Announcement
	}{
		{"", Lines, MaybeRecords},
		{"text/plain", Lines, MaybeRecords},
		{"text/plain; charset=utf-8", Lines, MaybeRecords},
		{"text/html", Lines, NotRecords},
		{"application/x-ndjson", NDJSON, AreRecords},
		{"application/ndjson", NDJSON, AreRecords},
		{"application/jsonl", NDJSON, AreRecords},
		{"application/x-jsonlines", NDJSON, AreRecords},
		{"application/jsonlines", NDJSON, AreRecords},
		{"application/stream+json", NDJSON, AreRecords},
		{"application/json", NDJSON, MaybeRecords},
		{"Application/JSON;stream=watch", NDJSON, AreRecords},
		{" application/json ; charset", NDJSON, MaybeRecords},
		{"application/json;;", NDJSON, MaybeRecords},
		{"application/vnd.api+json", NDJSON, MaybeRecords},
		{"application/json-seq", JSONSeq, AreRecords},
		{"application/geo+json-seq; x=y", JSONSeq, AreRecords},
		{"text/event-stream;charset=UTF-8", EventStream, AreRecords},
		{"application/jsonp", Lines, NotRecords},
		{"application/octet-stream", Lines, NotRecords},
	} {
		f, announced := ForContentType(v.contentType)
		if f != v.format || announced != v.announced {
			t.Errorf("%q: %s, %d", v.contentType, f, announced)
		}
	}
}

func TestFormatNamesAreThoseOfTheConfiguration(t *testing.T) {
	for _, name := range []string{"auto", "lines", "ndjson", "json_seq", "json", "event_stream"} {
		f, err := ParseFormat(name)
		if err != nil || f.String() != name {
			t.Errorf("%s: %s, %v", name, f, err)
		}
		if f.IsJSON() != strings.Contains(name, "json") {
			t.Errorf("%s: IsJSON %t", name, f.IsJSON())
		}
	}
	for _, name := range []string{"", "JSON", "xml"} {
		if _, err := ParseFormat(name); err == nil || !strings.Contains(err.Error(), "event_stream") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOversizeNamesAreThoseOfTheConfiguration(t *testing.T) {
	for name, want := range map[string]Oversize{"skip": Skip, "truncate": Truncate, "error": Fail} {
		if o, err := ParseOversize(name); err != nil || o != want {
			t.Errorf("%s: %d, %v", name, o, err)
		}
	}
	if _, err := ParseOversize("drop"); err == nil {
		t.Error("drop is taken")
	}
}

func TestCharsetNames(t *testing.T) {
	for name, want := range map[string]string{
		"": "utf-8", "UTF-8": "utf-8", "utf8": "utf-8", "latin1": "windows-1252", "ISO-8859-1": "windows-1252",
		"Shift_JIS": "shift_jis", "utf-16": "utf-16le", "iso-2022-jp": "iso-2022-jp",
	} {
		if c, err := LookupCharset(name); err != nil || c.String() != want {
			t.Errorf("%q: %s, %v", name, c, err)
		}
	}
	for _, name := range []string{"utf-7", "iso-2022-kr", "nonsense"} {
		if _, err := LookupCharset(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCharsetOfContentType(t *testing.T) {
	for contentType, want := range map[string]string{
		"":                                    "utf-8",
		"text/plain":                          "utf-8",
		"text/plain; charset=iso-8859-1":      "windows-1252",
		`text/plain; a=b; Charset="KOI8-R"`:   "koi8-r",
		"text/plain; broken; charset=utf-16;": "utf-16le",
		"text/plain; charset = 'gbk'":         "gbk",
		"text/plain; charset=nonsense":        "utf-8",
		"text/plain; charset=":                "utf-8",
	} {
		if c := CharsetOf(contentType); c.String() != want {
			t.Errorf("%q: %s, want %s", contentType, c, want)
		}
	}
}
