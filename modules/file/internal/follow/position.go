package follow

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Position is a position between two bytes of a followed file. It stays valid after a restart, and in a rotated file, while the bytes
// before it exist.
type Position struct {
	// Generation identifies the file, see [Chunk].
	Generation string

	// Offset counts bytes from the start of that file.
	Offset int64

	// InLine is true if the byte before Offset is not an LF, as after an unfinished last line, or between JSON values. If it does
	// not match the file, the file is not the same any more.
	InLine bool
}

// maxGeneration is the length of the longest generation, or more: two numbers of at most 64 bits, a checksum and the characters
// between them.
const maxGeneration = 64

// headSize is the number of first bytes that tell a file from a later one with the same inode number. The first line of a log usually
// has a time.
const headSize = 256

// generation identifies the content of a file by the inode number and the checksum of the first bytes. A file that has only a few
// bytes gets other generations as it grows. All of them stay valid.
type generation struct {
	inode uint64 // 0 if the system has no inode numbers
	head  int    // the number of bytes that sum covers
	sum   uint32
}

func newGeneration(inode uint64, head []byte) generation {
	return generation{inode: inode, head: len(head), sum: crc32.ChecksumIEEE(head)}
}

// String returns "<inode>.<head>.<sum>". The numbers are in base 36, and the sum has eight hexadecimal digits. The result has no
// hyphen, because a hyphen separates it from the offset in an id.
func (g generation) String() string {
	return fmt.Sprintf("%s.%s.%08x",
		strconv.FormatUint(g.inode, 36), strconv.FormatInt(int64(g.head), 36), g.sum)
}

func parseGeneration(s string) (generation, bool) {
	parts := strings.Split(s, ".")
	if len(s) > maxGeneration || len(parts) != 3 {
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
