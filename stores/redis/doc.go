// Package redis is the store that keeps the history of sources in Redis Streams, so that several processes share it. A
// build has it with
//
//	xcaddy build --with github.com/seed-4dedbcea/caddy-sse --with github.com/seed-4dedbcea/caddy-sse/stores/redis
//
// The option of share that names a store is not there yet, so that a build has the module and cannot use it.
//
// # What it promises less than NATS
//
// Redis answers before a message is on its disk, and before its replicas have it. So it may lose messages that it has
// accepted, and that clients have seen:
//
//   - A server without persistence loses everything when it stops. With appendonly yes it loses up to a second when its
//     machine fails, with appendfsync always nothing. With snapshots alone it loses all since the last one.
//   - A replica that takes over (Sentinel, or a provider's failover) lacks what had not reached it. min-replicas-to-write
//     and min-replicas-max-lag bound this in time, but do not prevent it.
//   - A primary that is cut off goes on to accept messages from the processes on its side until it notices that it has been
//     replaced. All of these are lost. Until then, the processes on either side are two fleets.
//
// No loss goes unnoticed: the place of a message is never used again, the processes see that the newest message is not the
// one they know, and clients get sse-gap with the reason store, and ids of a new epoch. NATS with three replicas loses
// nothing as long as two of them live.
//
// A cluster is not supported, but any server that answers for all keys is. With Sentinel, the URL must lead to the primary:
// by a name, or a proxy. The server's memory must have room for what is kept of all sources, with
// maxmemory-policy noeviction: the other policies would drop a history at any time.
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
// The log of a source is the stream sse:log:<name>. It lives for the age of keep after its newest message. The channel
// sse:news:<name> says that it has grown, and sse:presence carries what processes tell each other. sse:check lives for
// a moment, whenever a process connects.
//
// # Cost
//
// An append is one script. Each process that has clients of the source is told of it and reads once, however much has come
// meanwhile. While nothing comes, it looks once a second. Each process has one connection for what it is told, and a pool.
package redis
