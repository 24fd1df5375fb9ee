// Package redis is a store: it keeps the history of sources in Redis Streams, so that several processes share it. Build it
// in with
//
//	xcaddy build --with github.com/seed-4dedbcea/caddy-sse --with github.com/seed-4dedbcea/caddy-sse/stores/redis
//
// The option of share that uses it is `store redis <url>`.
//
// # Weaker promises than those of NATS
//
// Redis answers before a message is on its disk, and before its replicas have it. So it may lose messages that it has
// accepted and that clients have seen:
//
//   - A server without persistence loses everything when it stops. With appendonly yes, it loses up to a second of messages
//     when its machine fails. With appendfsync always as well, it loses nothing. With snapshots alone, it loses everything
//     since the last snapshot.
//   - A replica that takes over (Sentinel, or a provider's failover) lacks the messages that had not reached it.
//     min-replicas-to-write and min-replicas-max-lag limit the time in which messages are lost, but do not prevent the loss.
//   - A primary that is cut off continues to accept messages from the processes on its side until it notices that it has been
//     replaced. All of these messages are lost. Until then, the processes on the two sides work as two fleets.
//
// No loss goes unnoticed. The position of a message is never used again, so the processes see that the newest message is not
// the one they know. Clients then get sse-gap with the reason store, and ids with a new epoch. NATS with three replicas loses
// nothing as long as two of them are alive.
//
// A Redis cluster is not supported. Any server that holds all keys is. With Sentinel, the URL must lead to the primary, by a
// name or through a proxy. The server needs memory for the history of all sources, and maxmemory-policy noeviction: the other
// policies could drop a history at any time.
//
// # Rights
//
// The user needs the keys and channels with the prefix, and these commands:
//
//	ACL SETUSER caddy on >password ~sse:* &sse:* -@all +ping +select +eval +evalsha +time
//	    +xadd +xrange +xrevrange +xlen +xtrim +pexpire +publish +subscribe +unsubscribe
//
// # Keys
//
// The log of a source is the stream sse:log:<name>. It expires when its newest message reaches the age of keep. The channel
// sse:news:<name> announces new messages in it. The channel sse:presence carries the announcements of the processes. The key
// sse:check exists for a moment each time a process connects.
//
// # Cost
//
// An append runs one script. Each process with clients of the source is notified and reads once, even if several messages
// have arrived meanwhile. Without a notification, it checks once a second. Each process has one connection for notifications,
// and a pool of connections for commands.
package redis
