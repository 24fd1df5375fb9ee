package follow

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Position is a place between two bytes of a followed file. It stays valid
// while the bytes before it are kept anywhere under the file's name: across
// restarts of the server, and in the rotated file.
type Position struct {
	// Generation names the file, see [Chunk].
	Generation string

	// Offset counts bytes from the start of that file.
	Offset int64
}

// String is the position as event ids carry it: "<generation>-<offset>".
func (p Position) String() string {
	return p.Generation + "-" + strconv.FormatInt(p.Offset, 10)
}

// maxPosition is longer than any position: three numbers of at most 64 bits,
// a checksum and the characters between them.
const maxPosition = 64

// ParsePosition reads what [Position.String] wrote. Everything else, whatever
// its length, is rejected: the text comes from clients.
func ParsePosition(s string) (Position, bool) {
	if len(s) > maxPosition {
		return Position{}, false
	}
	name, digits, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, false
	}
	if _, ok := parseGeneration(name); !ok {
		return Position{}, false
	}
	offset, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || offset < 0 {
		return Position{}, false
	}
	p := Position{Generation: name, Offset: offset}
	return p, p.String() == s
}

// headSize is how many of a file's first bytes tell it from another file that
// got the same inode number later. A log's first line has its time in it.
const headSize = 256

// generation is what the name of a generation says about a file: its inode
// number and the checksum of its first bytes. A file that had only few bytes
// when it was named gets further names as it grows; all of them are true.
type generation struct {
	inode uint64 // 0 where the system has no inode numbers
	head  int    // how many bytes sum covers
	sum   uint32
}

func newGeneration(inode uint64, head []byte) generation {
	return generation{inode: inode, head: len(head), sum: crc32.ChecksumIEEE(head)}
}

// String is "<inode>.<head>.<sum>", the numbers to base 36 and the sum as eight
// hexadecimal digits. No hyphen: that separates it from the offset.
func (g generation) String() string {
	return fmt.Sprintf("%s.%s.%08x",
		strconv.FormatUint(g.inode, 36), strconv.FormatInt(int64(g.head), 36), g.sum)
}

func parseGeneration(s string) (generation, bool) {
	parts := strings.Split(s, ".")
	if len(s) > maxPosition || len(parts) != 3 {
		return generation{}, false
	}
	inode, err1 := strconv.ParseUint(parts[0], 36, 64)
	head, err2 := strconv.ParseUint(parts[1], 36, 16)
	sum, err3 := strconv.ParseUint(parts[2], 16, 32)
	if err1 != nil || err2 != nil || err3 != nil || head > headSize {
		return generation{}, false
	}
	g := generation{inode: inode, head: int(head), sum: uint32(sum)}
	return g, g.String() == s
}
