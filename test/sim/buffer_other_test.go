//go:build !unix

package sim_test

func setReadBuffer(uintptr, int) {}
