package records

import (
	"bytes"

	"golang.org/x/text/transform"
)

// replacement is U+FFFD, which replaces invalid bytes.
var replacement = []byte("\uFFFD")

// The byte order marks.
var (
	bomUTF8    = []byte("\xEF\xBB\xBF")
	bomUTF16LE = []byte("\xFF\xFE")
	bomUTF16BE = []byte("\xFE\xFF")
)

// decoder turns source bytes into pieces of valid UTF-8 text, so that the code that finds records need not know charsets.
// It also maps an index in the text to an offset in the source. It does not copy valid UTF-8.
type decoder struct {
	chunk  []byte // fed, but not decoded yet
	offset int64  // the source offset of the first byte that is not decoded yet
	held   [8]byte
	nheld  int     // the number of bytes in held: the beginning of a character or a BOM at the end of a chunk
	small  [8]byte // a copy of held, for the piece made from it
	begun  bool    // the start of the text was checked for a BOM

	start   int64 // the source offset at which the last piece starts
	charset *Charset
	legacy  *legacyDecoder // nil for UTF-8
}

// legacyDecoder decodes charsets other than UTF-8.
type legacyDecoder struct {
	decode transform.Transformer
	buf    []byte
	shifts bool  // the charset has escape sequences, which produce no text
	from   int64 // the source offset of the next piece, including escape sequences before it

	// To find a source offset, the last piece is decoded again up to that index: a decoder does not say which source byte
	// became which byte of text.
	again   transform.Transformer
	scratch []byte
	src     []byte // the source of the last piece, and bytes after it
	base    int64  // the source offset of src
	final   bool
	size    int // the size of the last piece
	seen    int // the number of its bytes decoded again
	at      int // the number of bytes in src decoded again
}

// legacyPiece is the largest piece of text from a legacy charset.
const legacyPiece = 2 << 10

func (d *decoder) use(c *Charset) {
	d.charset, d.legacy = c, nil
	if !c.isUTF8() {
		d.legacy = &legacyDecoder{
			decode:  c.encoding.NewDecoder().Transformer,
			again:   c.encoding.NewDecoder().Transformer,
			buf:     make([]byte, legacyPiece),
			scratch: make([]byte, legacyPiece),
			shifts:  c.name == "iso-2022-jp",
			from:    d.offset,
		}
	}
}

// next returns the next piece of text. The piece is empty if more bytes are needed. final means that no more bytes will come.
func (d *decoder) next(final bool) []byte {
	text := d.piece(final)
	if len(text) == 0 {
		d.start = d.offset
	}
	return text
}

func (d *decoder) piece(final bool) []byte {
	if !d.begun && !d.skipBOM(final) {
		return nil
	}
	if d.legacy != nil {
		return d.nextLegacy(final)
	}
	if d.nheld > 0 {
		return d.nextHeld(final)
	}
	valid, bad := validLen(d.chunk)
	switch {
	case valid > 0:
		return d.take(d.chunk[:valid], valid)
	case bad > 0:
		return d.take(replacement, bad)
	}
	d.nheld = copy(d.held[:], d.chunk)
	d.chunk = nil
	if final && d.nheld > 0 {
		return d.nextHeld(final)
	}
	return nil
}

// take consumes n bytes of the chunk, which have become text.
func (d *decoder) take(text []byte, n int) []byte {
	d.start = d.offset
	d.offset += int64(n)
	d.chunk = d.chunk[n:]
	return text
}

// hold moves one byte from the chunk to held. It reports false if that is impossible.
func (d *decoder) hold() bool {
	if len(d.chunk) == 0 || d.nheld == len(d.held) {
		return false
	}
	d.held[d.nheld] = d.chunk[0]
	d.nheld++
	d.chunk = d.chunk[1:]
	return true
}

// takeHeld consumes n bytes of held, which have become text.
func (d *decoder) takeHeld(text []byte, n int) []byte {
	d.start = d.offset
	d.offset += int64(n)
	d.nheld = copy(d.held[:], d.held[n:d.nheld])
	return text
}

// nextHeld completes a character that was cut off at the end of the last chunk.
func (d *decoder) nextHeld(final bool) []byte {
	for {
		valid, bad := validLen(d.held[:d.nheld])
		switch {
		case valid > 0:
			return d.takeHeld(d.small[:copy(d.small[:], d.held[:valid])], valid)
		case bad > 0:
			return d.takeHeld(replacement, bad)
		case !d.hold():
			if final {
				return d.takeHeld(replacement, d.nheld)
			}
			return nil
		}
	}
}

// skipBOM drops a leading byte order mark. The mark of UTF-8 decides the charset, whatever was announced (WHATWG Encoding
// §6, decode). The marks of UTF-16 decide only the byte order of a stream announced as UTF-16: at the start of a UTF-8
// stream, FF FE is more often damage than another charset. skipBOM reports false if it needs more bytes.
func (d *decoder) skipBOM(final bool) bool {
	chunk, fresh := d.chunk, d.nheld == 0
	for {
		held := d.held[:d.nheld]
		isPrefix := bytes.HasPrefix(bomUTF8, held)
		var found *Charset
		switch {
		case bytes.Equal(held, bomUTF8):
			found = utf8Charset
		case d.charset.isUTF16():
			isPrefix = isPrefix || bytes.HasPrefix(bomUTF16LE, held) || bytes.HasPrefix(bomUTF16BE, held)
			if bytes.Equal(held, bomUTF16LE) {
				found = utf16LE
			} else if bytes.Equal(held, bomUTF16BE) {
				found = utf16BE
			}
		}
		if found != nil {
			d.offset += int64(d.nheld)
			d.nheld = 0
			d.begun = true
			d.use(found)
			return true
		}
		if isPrefix && d.hold() {
			continue
		}
		if isPrefix && !final {
			return false
		}
		d.begun = true
		if fresh {
			d.chunk, d.nheld = chunk, 0
		}
		return true
	}
}

// nextLegacy decodes the next piece of a charset other than UTF-8.
func (d *decoder) nextLegacy(final bool) []byte {
	l := d.legacy
	l.sourceLen(l.size) // the second decoder must decode the whole piece
	l.size, l.seen, l.at = 0, 0, 0
	for {
		held := d.nheld > 0
		l.src, l.final = d.chunk, false
		if l.shifts && len(l.src) > 0 {
			// An escape sequence begins a piece. So it belongs to the text that follows it, wherever a chunk ends.
			l.src = l.src[:min(len(l.src), legacyPiece)]
			if i := bytes.IndexByte(l.src[1:], 0x1B); i >= 0 {
				l.src = l.src[:1+i]
			}
		}
		if held {
			d.hold()
			l.src = d.small[:copy(d.small[:], d.held[:d.nheld])]
			l.final = final && len(d.chunk) == 0
		}
		if len(l.src) == 0 {
			return nil
		}
		nDst, nSrc, _ := l.decode.Transform(l.buf, l.src, l.final)
		switch {
		case nSrc > 0 && held:
			d.takeHeld(nil, nSrc)
		case nSrc > 0:
			d.take(nil, nSrc)
		case l.final:
			// A decoder should leave no bytes when no more will come. Bytes that it leaves are not characters.
			d.nheld = 0
			return nil
		case held && len(d.chunk) == 0:
			return nil
		case held && d.nheld == len(d.held):
			d.takeHeld(nil, 1) // no character is that long
		case !held:
			d.hold()
		}
		if nDst > 0 {
			l.size = nDst
			l.base, d.start, l.from = d.start, l.from, d.offset
			return l.buf[:nDst]
		}
		if nSrc > 0 {
			// An escape sequence, which changes the state of both decoders.
			l.again.Transform(l.scratch[:0], l.src[:nSrc], l.final)
		}
	}
}

// offsetAt returns the source offset of byte n of the last piece. n must not be lower than in the previous call.
func (d *decoder) offsetAt(n int) int64 {
	if d.legacy == nil || n == 0 {
		return d.start + int64(n)
	}
	return d.legacy.base + int64(d.legacy.sourceLen(n))
}

func (l *legacyDecoder) sourceLen(n int) int {
	for l.seen < n {
		nDst, nSrc, _ := l.again.Transform(l.scratch[:n-l.seen], l.src[l.at:], l.final)
		if nDst == 0 && nSrc == 0 {
			break
		}
		l.seen += nDst
		l.at += nSrc
	}
	return l.at
}
