// Package upstream opens upstreams and makes records of their bytes. It knows which responses have records, shares a
// single-instance upstream, and reports failures.
package upstream
