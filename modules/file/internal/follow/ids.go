package follow

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// Key is the secret that ids are signed with.
type Key [32]byte

// IDs makes and parses the event ids for positions in one file: "<generation>-<offset>-<digest>". A client that could forge ids
// could start in the middle of a line, before the line where it was allowed to start, or in another file in the folder. Only one
// goroutine may use IDs at a time.
type IDs struct {
	key        Key
	path       string
	generation string       // the generation that block is for
	block      cipher.Block // nil at first
	in, out    [aes.BlockSize]byte
}

// NewIDs returns the ids for the file that is followed by this path.
func NewIDs(key Key, path string) *IDs { return &IDs{key: key, path: path} }

// digestSize is the number of bytes in the digest. They are enough, because each guess takes a request.
const digestSize = 8

// maxID is the length of the longest id, or more.
const maxID = maxGeneration + 1 + 20 + 1 + 2*digestSize

// Append appends the id for p. It does not allocate while p's generation stays the same.
func (ids *IDs) Append(dst []byte, p Position) []byte {
	dst = append(dst, p.Generation...)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, p.Offset, 10)
	dst = append(dst, '-')
	return hex.AppendEncode(dst, ids.digest(p))
}

// Parse parses an id that Append has made with the same key and path. It rejects any other text, which may come from a client.
func (ids *IDs) Parse(s string) (Position, bool) {
	if len(s) > maxID {
		return Position{}, false
	}
	generation, rest, _ := strings.Cut(s, "-")
	digits, given, _ := strings.Cut(rest, "-")
	digest, err := hex.DecodeString(given)
	if err != nil || len(digest) != digestSize {
		return Position{}, false
	}
	offset, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || offset < 0 {
		return Position{}, false
	}
	if _, ok := parseGeneration(generation); !ok {
		return Position{}, false
	}
	for _, inLine := range []bool{false, true} {
		p := Position{Generation: generation, Offset: offset, InLine: inLine}
		if hmac.Equal(digest, ids.digest(p)) {
			return p, string(ids.Append(nil, p)) == s
		}
	}
	return Position{}, false
}

// digest encrypts the offset with AES. The key is made from the secret, the path and the generation. For each record, that costs far
// less than a hash.
func (ids *IDs) digest(p Position) []byte {
	if ids.block == nil || ids.generation != p.Generation {
		mac := hmac.New(sha256.New, ids.key[:])
		mac.Write([]byte(ids.path))
		mac.Write([]byte{0})
		mac.Write([]byte(p.Generation))
		block, err := aes.NewCipher(mac.Sum(nil)[:16])
		if err != nil {
			panic(err) // impossible: only a wrong key length is an error
		}
		ids.generation, ids.block = p.Generation, block
	}
	binary.BigEndian.PutUint64(ids.in[:], uint64(p.Offset))
	ids.in[8] = 0
	if p.InLine {
		ids.in[8] = 1
	}
	ids.block.Encrypt(ids.out[:], ids.in[:])
	return ids.out[:digestSize]
}
