//go:build !amd64

package records

func asciiBlocks(p []byte) int { return asciiBlocksGeneric(p) }
