package sse_test

import (
	"os"
	"regexp"

	"github.com/seed-4dedbcea/caddy-sse/internal/memorystore"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

var (
	shareBlock = regexp.MustCompile(`(?m)^(\s*share(?: [^{\n]*)?)(?: ?)\{$`)
	shareLine  = regexp.MustCompile(`(?m)^(\s*share(?: (?:\{[^\n]*\}|[^{\n]+))?)$`)
)

// With SSE_TEST_STORE, all tests have a store.
func init() {
	if os.Getenv("SSE_TEST_STORE") == "" {
		return
	}
	ssetest.Rewrite = func(name, config string) string {
		_, _ = engines.LoadOrStore(name, memorystore.New())
		config = shareBlock.ReplaceAllString(config, "$1 {\nstore test_memory "+name+" 1")
		return shareLine.ReplaceAllString(config, "$1 {\nstore test_memory "+name+" 1\n}")
	}
}
