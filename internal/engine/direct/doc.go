// Package direct serves streams that do not share their upstreams: each request opens its own.
package direct
