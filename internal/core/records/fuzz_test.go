package records

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

var fuzzCharsets = []string{"utf-8", "windows-1252", "shift_jis", "gb18030", "iso-2022-jp", "utf-16le", "utf-16be", "euc-kr"}

// FuzzSplitterChunking: where chunks end must never be seen.
func FuzzSplitterChunking(f *testing.F) {
	for _, in := range []string{
		"a\nbc\r\n\r\r\n\xEF\xBB\xBFd\xE2\x82\x41\xF0\x80\x80\x41\n",
		"{\"a\" : [1, \"b\\\"\"] }[1,{},\"x\\u0022\"] tru 1 2,]}\n\n{\"a\"\n{\"b\"",
		"\x1e{\"a\":\n1}\n\x1e12\x1e\"x\\\"\"\x1e\x1e nul\n\n",
		"\xEF\xBB\xBF: c\r\ndata: a\rdata\ndata:b\n\nid:1\x00\nid: 2\r\n\r\nevent:e\n\n",
		"\xFF\xFEa\x00\n\x00\x3d\xd8\x00\xde\r\x00\n\x00",
		"\x1b$BF|K\\\x1b(B\n\x1b$BF\n\x83\x5c\n\x81\x30\x81\x30\n",
	} {
		for format := Lines; format <= EventStream; format++ {
			f.Add([]byte(in), uint8(format), uint8(0), uint8(7), uint8(format), true, uint64(1))
			f.Add([]byte(in), uint8(format), uint8(format), uint8(60), uint8(0), false, uint64(2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format, charsetIndex, maxSize, oversize uint8, clean bool, seed uint64) {
		if len(data) > 4<<10 {
			data = data[:4<<10]
		}
		o := Options{
			Format:   Format(format % uint8(len(formatNames))),
			Charset:  charset(t, fuzzCharsets[int(charsetIndex)%len(fuzzCharsets)]),
			MaxSize:  int(maxSize) + 1,
			Oversize: Oversize(oversize % 3),
		}
		whole := sameInAnyChunks(t, o, data, clean, rand.New(rand.NewPCG(seed, 0)))
		if o.Format == Lines && o.Charset == utf8Charset && clean {
			if want := plainLines(data, o.MaxSize, o.Oversize); !slices.Equal(texts(whole), want) {
				t.Fatalf("%q, max %d policy %d:\n got %q\nwant %q", data, o.MaxSize, o.Oversize, texts(whole), want)
			}
		}
	})
}

// sameInAnyChunks splits data in one chunk and in others.
func sameInAnyChunks(t *testing.T, o Options, data []byte, clean bool, r *rand.Rand, others ...[]int) []seen {
	t.Helper()
	random := make([]int, 16)
	for i := range random {
		random[i] = 1 + r.IntN(20)
	}
	whole := split(t, o, data, clean)
	for _, sizes := range append(others, []int{1}, random, []int{len(data)/2 + 1}) {
		if got := split(t, o, data, clean, sizes...); !slices.Equal(got, whole) {
			t.Fatalf("%s %s max %d policy %d clean %t %q in chunks of %v:\n got %v\nwant %v",
				o.Format, o.Charset, o.MaxSize, o.Oversize, clean, data, sizes, got, whole)
		}
	}
	return whole
}

// Fuzzing finds these only by luck: streams made of meaningful pieces.
func TestWhereChunksEndIsNeverSeen(t *testing.T) {
	pieces := []string{
		"\n", "\n", "\r", "\r\n", " ", "\t", "a", "bc", "0123456789abcdef", "é", "日本", "\xE2\x82", "\xFF", "\x00", "\uFEFF",
		"{", "}", "[", "]", ",", ":", "\"", "\\", "1", "-2.5", "true", "\"a b\"", "{\"a\": [1, 2]}", "\x1e", "\x1e",
		"data:", "data: ", "data", "id:", "id: 1", "event:", "event: e", ": c", "retry: 1", "\n\n", "data: x\n", "data: abcdefgh\n",
		"\x83\x5c", "\x81\x30\x81\x30", "\x1b$BF|\x1b(B", "\x1b$B", "a\x00", "\x00\n", "\n\x00", "\x3d\xd8\x00\xde",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var data []byte
		var sizes []int
		for range r.IntN(30) {
			piece := pieces[r.IntN(len(pieces))]
			data = append(data, piece...)
			if len(sizes) > 0 && r.IntN(4) > 0 {
				sizes[len(sizes)-1] += len(piece)
			} else {
				sizes = append(sizes, len(piece))
			}
		}
		o := Options{
			Format:   Lines + Format(r.IntN(5)),
			Charset:  charset(t, fuzzCharsets[max(0, r.IntN(2*len(fuzzCharsets))-len(fuzzCharsets))]),
			MaxSize:  1 + r.IntN(12),
			Oversize: Oversize(r.IntN(3)),
		}
		if r.IntN(4) == 0 {
			o.MaxSize = 200
		}
		sameInAnyChunks(t, o, data, r.IntN(2) == 0, r, sizes)
	}
}

func texts(all []seen) (texts []string) {
	for _, s := range all {
		switch s.token {
		case IsRecord:
			texts = append(texts, s.text)
		default:
			texts = append(texts, s.String())
		}
	}
	return texts
}

// plainLines does what Lines does to UTF-8 in the plainest way.
func plainLines(data []byte, maxSize int, over Oversize) (texts []string) {
	text, err := unicode.UTF8BOM.NewDecoder().Bytes(data)
	if err != nil {
		panic(err)
	}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		switch {
		case len(line) == 0:
			texts = append(texts, "blank")
		case len(line) <= maxSize:
			texts = append(texts, string(line))
		case over == Skip:
			texts = append(texts, "skipped")
		case over == Fail:
			return append(texts, "too large")
		default:
			n := 0
			for _, r := range string(line) {
				if n+utf8.RuneLen(r) > maxSize {
					break
				}
				n += utf8.RuneLen(r)
			}
			texts = append(texts, string(line[:n]))
		}
	}
	return texts
}

// FuzzUTF8 holds the decoding against that of golang.org/x/text.
func FuzzUTF8(f *testing.F) {
	f.Add([]byte("a\xE2\x82\x41\xF0\x80\x80\x41\xED\xA0\x80\xC0\xAF\xFF\xF4\x90\xF1\x80\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := unicode.UTF8BOM.NewDecoder().Bytes(data)
		if err != nil {
			t.Fatal(err)
		}
		var d decoder
		d.use(nil)
		var got []byte
		for i := range data {
			d.chunk = data[i : i+1]
			for text := d.next(false); len(text) > 0; text = d.next(false) {
				got = append(got, text...)
			}
		}
		for text := d.next(true); len(text) > 0; text = d.next(true) {
			got = append(got, text...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%x: %q, want %q", data, got, want)
		}
	})
}
