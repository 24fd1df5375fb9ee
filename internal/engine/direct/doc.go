// Package direct serves streams that have an upstream each.
package direct
