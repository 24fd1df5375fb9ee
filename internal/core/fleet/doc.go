// Package fleet makes the sources of several processes one: one of them has the upstream, and all have the same history.
// It knows neither HTTP nor Caddy, and nothing of the engine that keeps the history but package store.
//
// # The log is the fence
//
// Each source has a log. A message is appended only if the newest one is that which its writer knows. A process takes a
// source over by appending a message that opens an epoch. From then on, nothing that the process before it appends is
// accepted. A lease only says when it is time to try. So two processes that both believe that they lead do no harm.
//
// # Nothing is shown before it is stored
//
// A member applies messages, in the order of the log, to its Source. The leader does the same: it applies what it has
// appended once the store has accepted it.
//
// # Continuity
//
// Records are numbered from 1 for as long as a source exists, whoever leads. A member compares numbers and epochs, not
// places in the log: it recognizes a message it has had, one that is missing, and a store that has lost its newest
// messages. For each record that may be missing there is a gap.
package fleet
