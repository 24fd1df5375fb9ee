// Package record makes and parses the benchmark's records. A record is one JSON object on one line, with its number and its send time.
//
//	{"n":100000000001,"t":1763860000123456789,"type":"tick","pad":"xxxx"}
//
// Number and time have a fixed width. So the emitter can write them into a prepared line, and the swarm can read them without parsing
// JSON. Both must be cheaper than the server between them.
package record

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// First is the number of a stream's first record. All numbers in a benchmark have the same number of digits, and are exact in JSON.
const First = 100_000_000_001

// Type is the value of every record's "type".
const Type = "tick"

const (
	beforeNumber = `{"n":`
	beforeTime   = `,"t":`
	afterTime    = `,"type":"` + Type + `","pad":"`
	tail         = `"}`

	numberDigits = 12
	timeDigits   = 19
	numberAt     = len(beforeNumber)
	timeAt       = numberAt + numberDigits + len(beforeTime)
	padAt        = timeAt + timeDigits + len(afterTime)
)

// MinSize is the size of the smallest record, in bytes, with its line feed.
const MinSize = padAt + len(tail) + 1

var errForm = errors.New("not a record of this benchmark")

// New returns a record without its line feed. size is its size in bytes with the line feed. A size below MinSize means MinSize. Stamp sets
// number and time.
func New(size int) []byte {
	size = max(size, MinSize)
	line := make([]byte, 0, size-1)
	line = append(line, beforeNumber...)
	line = append(line, bytes.Repeat([]byte{'0'}, numberDigits)...)
	line = append(line, beforeTime...)
	line = append(line, bytes.Repeat([]byte{'0'}, timeDigits)...)
	line = append(line, afterTime...)
	line = append(line, bytes.Repeat([]byte{'x'}, size-1-padAt-len(tail))...)
	return append(line, tail...)
}

// Stamp writes the number n and the send time t, in nanoseconds since the Unix epoch, into a record from New.
func Stamp(line []byte, n, t int64) {
	putDigits(line[numberAt:numberAt+numberDigits], n)
	putDigits(line[timeAt:timeAt+timeDigits], t)
}

// Parse returns the number and the send time of a record. It returns an error if the bytes are not a record.
func Parse(line []byte) (n, t int64, err error) {
	if len(line) < MinSize-1 ||
		string(line[:numberAt]) != beforeNumber ||
		string(line[numberAt+numberDigits:timeAt]) != beforeTime ||
		string(line[timeAt+timeDigits:padAt]) != afterTime ||
		string(line[len(line)-len(tail):]) != tail {
		return 0, 0, errForm
	}
	number, okNumber := digits12(line[numberAt:])
	high, okHigh := digits12(line[timeAt:])
	low, okLow := Digits(line[timeAt+12 : timeAt+timeDigits])
	if !okNumber || !okHigh || !okLow {
		return 0, 0, errForm
	}
	return number, high*10_000_000 + low, nil
}

// Digits parses a decimal number without a sign.
func Digits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func digits12(b []byte) (int64, bool) {
	high, ok := digits8(b)
	low, okLow := Digits(b[8:12])
	return high*10_000 + low, ok && okLow
}

// digits8 parses eight digits at once. Three multiplications in one word combine pairs, then fours, then all digits.
func digits8(b []byte) (int64, bool) {
	v := binary.LittleEndian.Uint64(b)
	const zeros, overNine = 0x3030303030303030, 0x0606060606060606
	if v&0xF0F0F0F0F0F0F0F0 != zeros || (v+overNine)&0xF0F0F0F0F0F0F0F0 != zeros {
		return 0, false
	}
	v -= zeros
	v = (v * 10) + (v >> 8)
	v = ((v & 0x000000FF000000FF) * 0x000F424000000064) + (((v >> 16) & 0x000000FF000000FF) * 0x0000271000000001)
	return int64(v >> 32), true
}

func putDigits(b []byte, v int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
}
