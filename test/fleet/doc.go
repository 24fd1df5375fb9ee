// Package fleet tests a fleet of real processes: Caddys that share a store, the store's servers, an upstream that counts its
// connections, a proxy that spreads clients over the Caddys, and clients that reconnect. Processes are killed, frozen, stopped
// and started. Run it with the build tag integration.
package fleet
