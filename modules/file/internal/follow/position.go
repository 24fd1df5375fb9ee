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

	// InLine says that the byte before Offset is not the LF that ends a line, as
	// after the last line of a file, or between JSON values. If the file says
	// otherwise, it is no longer the same.
	InLine bool
}

// maxGeneration is longer than any name of a generation: two numbers of at most
// 64 bits, a checksum and the characters between them.
const maxGeneration = 64

// headSize is how many of a file's first bytes tell it from a later file with the
// same inode number. The first line of a log has a time in it.
const headSize = 256

// generation holds what the name of a generation says about a file: its inode
// number and the checksum of its first bytes. A file that had only a few bytes
// when it was named gets more names as it grows. All of them are valid.
type generation struct {
	inode uint64 // 0 where the system has no inode numbers
	head  int    // how many bytes sum covers
	sum   uint32
}

func newGeneration(inode uint64, head []byte) generation {
	return generation{inode: inode, head: len(head), sum: crc32.ChecksumIEEE(head)}
}

// String returns "<inode>.<head>.<sum>": the numbers to base 36, and the sum as
// eight hexadecimal digits. It has no hyphen, which separates it from the offset.
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
