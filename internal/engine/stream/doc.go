// Package stream writes one client's event stream. It lifts the server's deadlines, keeps the client alive, ends the
// stream for one reason, and knows the streams that are open.
package stream
