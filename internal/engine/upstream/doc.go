// Package upstream opens upstreams and turns their bytes into records. It decides which responses have records, shares
// single-instance upstreams, and reports failures.
package upstream
