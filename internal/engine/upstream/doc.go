// Package upstream opens upstreams and makes records of their bytes. It knows which responses have records, shares an
// upstream of which there is just one, and reports what goes wrong.
package upstream
