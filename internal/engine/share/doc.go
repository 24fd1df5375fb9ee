// Package share serves streams that share upstreams. A source is opened once, numbers the records, and keeps the last of
// them. Its feeds make frames of them, once for all streams that map alike.
package share
