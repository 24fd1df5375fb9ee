// Package nats is a store: it keeps the history of sources in NATS JetStream, so that several processes share it. Build it
// in with
//
//	xcaddy build --with github.com/seed-4dedbcea/caddy-sse --with github.com/seed-4dedbcea/caddy-sse/stores/nats
//
// The option of share that uses it is `store nats [<url...>]`.
//
// # What it promises
//
// With replicas 3, NATS loses nothing that it has accepted, as long as two of the three servers live. If the server that leads
// the stream dies, nothing is accepted until another one leads, which takes a few seconds. With replicas 1 nothing is accepted
// while that server is away. NATS writes to its disk at once, but waits for the disk every two minutes only (sync_interval):
// if all machines that have the stream fail, what they had accepted before that may be lost. No loss goes unnoticed: clients get
// sse-gap with the reason store, and ids of a new epoch.
//
// It needs NATS 2.11 or newer, with JetStream. 2.14.9 or newer is better: there, what the former leader of a stream still
// has to say is refused as such. The servers' max_payload must be at least 262656. A message of a log may be as large as
// max_payload, less 512 bytes.
//
// # The stream
//
// All sources are in one stream, which is made if it is missing, and never changed:
//
//	nats stream add SSE --subjects 'sse.log.*' --storage file --replicas 3 --retention limits --discard old \
//	    --max-age 24h --allow-direct --republish-source 'sse.log.>' --republish-destination 'sse.live.>'
//
// One that is there is taken if it has these subjects, retention and discard policy, republishes and allows direct access, lets
// messages be purged, acknowledges them, and keeps them at least as long as keep says. Its storage, its replicas and its other
// limits are up to you. With a limit on its size it may drop the histories of sources that are quiet.
//
// # Rights
//
// The user needs these rights, with the name of the stream in place of SSE and the prefix in place of sse:
//
//	publish: ["sse.log.*", "sse.presence", "$JS.API.STREAM.INFO.SSE", "$JS.API.STREAM.MSG.GET.SSE",
//	    "$JS.API.STREAM.PURGE.SSE", "$JS.API.DIRECT.GET.SSE"]
//	subscribe: ["sse.live.*", "sse.presence", "_INBOX.>"]
//
// To make the stream, it needs to publish to "$JS.API.STREAM.CREATE.SSE", too. Anyone who may publish to sse.log.* or sse.live.*
// speaks to all clients.
//
// # Subjects
//
// The log of a source is the subject sse.log.<name>. The stream republishes what it has stored as sse.live.<name>.
// sse.presence carries what processes tell each other. To see whether it has all rights, a process that connects sends
// an empty message there, and tries to append one to sse.log.check in vain.
//
// # Cost
//
// An append is one message, and its answer. Each process that has clients of the source gets what is stored without asking, on
// its one connection. It asks once a second whether the stream has grown, and if so, whether it has missed messages of the sources of
// which it has heard nothing meanwhile.
package nats
