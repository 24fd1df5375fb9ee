package records

import (
	"bytes"
	"strings"
	"testing"
)

const chunkSize = 32 << 10

// sink keeps what a benchmark computes from being left out.
var sink int

// repeated returns copies of the records, n of them in the bytes of a chunk.
func repeated(record string) []byte {
	return []byte(strings.Repeat(record, max(chunkSize/len(record), 1)))
}

// lineOf returns a line of size bytes, its LF included.
func lineOf(word string, size int) string {
	n := (size - 1) / len(word)
	return strings.Repeat(word, n) + strings.Repeat(".", size-1-n*len(word)) + "\n"
}

func benchmark(b *testing.B, o Options, chunk []byte) {
	s := New(o)
	var rec Record
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		s.Feed(chunk)
		for s.Next(&rec) != NeedMore {
			sink += len(rec.Text)
		}
	}
}

// baseline is what splitting is measured against: in each line two scans and
// one copy, which is the least that finds, checks and frames a line.
func baseline(b *testing.B, chunk []byte) {
	out := make([]byte, len(chunk))
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		to := out
		for rest := chunk; len(rest) > 0; {
			lf := bytes.IndexByte(rest, '\n')
			if cr := bytes.IndexByte(rest[:lf], '\r'); cr >= 0 {
				b.Fatal("CR")
			}
			to = to[copy(to, rest[:lf]):]
			rest = rest[lf+1:]
		}
	}
}

func BenchmarkSplitter(b *testing.B) {
	for _, v := range []struct {
		name  string
		chunk []byte
	}{
		{"200B", repeated(lineOf("word ", 200))},
		{"4KB", repeated(lineOf("word ", 4096))},
		{"200B-UTF8", repeated(lineOf("some wörds in a längish sentence ", 200))},
		{"4KB-UTF8", repeated(lineOf("some wörds in a längish sentence ", 4096))},
		{"200B-kana", repeated(lineOf("日本語", 200))},
		{"200B-CRLF", repeated(lineOf("word ", 199)[:198] + "\r\n")},
	} {
		b.Run("lines/"+v.name, func(b *testing.B) {
			benchmark(b, Options{Format: Lines, MaxSize: 1 << 20}, v.chunk)
		})
		if !bytes.Contains(v.chunk, []byte{'\r'}) {
			b.Run("baseline/"+v.name, func(b *testing.B) { baseline(b, v.chunk) })
		}
	}
	const object = `{"time":"2026-01-02T03:04:05Z","level":"info","msg":"a message of some words","count":12345,"tags":["a","b"],"ok":true}`
	const pretty = "{\n  \"time\": \"2026-01-02T03:04:05Z\",\n  \"level\": \"info\",\n  \"msg\": \"a message of some words\",\n  \"tags\": [\n    \"a\",\n    \"b\"\n  ]\n}\n"
	for _, v := range []struct {
		name   string
		format Format
		record string
	}{
		{"ndjson", NDJSON, object + "\n"},
		{"json/compact", JSON, object},
		{"json/pretty", JSON, pretty},
		{"json_seq", JSONSeq, "\x1e" + object + "\n"},
		{"event_stream", EventStream, "id: 12345\nevent: change\ndata: " + object + "\n\n"},
		{"event_stream/CRLF", EventStream, "data: " + object + "\r\n\r\n"},
	} {
		b.Run(v.name, func(b *testing.B) {
			benchmark(b, Options{Format: v.format, MaxSize: 1 << 20}, repeated(v.record))
		})
	}
	b.Run("lines/windows-1252", func(b *testing.B) {
		c, err := LookupCharset("windows-1252")
		if err != nil {
			b.Fatal(err)
		}
		benchmark(b, Options{Format: Lines, Charset: c, MaxSize: 1 << 20}, repeated(lineOf("w\xf6rd ", 200)))
	})
}
