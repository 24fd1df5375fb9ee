// Package share serves streams that share upstreams. A source opens an upstream once, numbers its records, and keeps the last ones. Its
// feeds turn them into frames, once for all streams with the same mapping.
package share
