// Package nexthandler makes event streams of the responses of the next handler in the route. It asks the handler for one
// client, or once for all that share it.
package nexthandler
