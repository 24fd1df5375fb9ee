// Package nexthandler turns responses of the next handler in the route into event streams. It calls the handler for each client, or
// once for all clients that share the response.
package nexthandler
