// Package compress compresses event streams, so that each event arrives at once, and many clients share the work.
//
// A compressor as libraries have them keeps half a megabyte for each stream, and what it writes next depends on all that it
// has written before: on the text in its window, and on the entropy tables of the block before. So each client needs one of
// its own, and pays for all of it.
//
// Here a text becomes blocks that depend on one thing only: what the client has decoded right before, its history. They use
// no entropy table and no offset of an earlier block. With the same history, the same text is the same blocks for every
// client. So a text that many clients get is compressed once for all of them (see [Shared]), and a compressor has no state
// to be kept between two texts. It is taken from a pool, and is shown the history anew. A history of one or two kilobytes
// is enough: events are like the ones just before.
//
// A client has one gzip member or one zstd frame, from its first byte to its last. Not all decoders take several.
//
//   - The blocks of a text come behind one another, and end at a byte's boundary. In deflate, an empty stored block does that.
//   - A client that joins has no history. Its first text refers to nothing before, its second one to the first, and so on.
//     For text that is shared, the length of a history is a power of two, so that clients that join at different times soon
//     get the same blocks as all others.
//   - A text that only one client gets, such as a heartbeat, may come at any place. It shifts what came before to another
//     distance, so the client's history begins anew there.
//   - A client that is behind gets all it has missed as one text.
//
// The checksum that ends a gzip member is that of the client's own text, so each client adds up its own. A stream that is
// broken off has no end: its decoder then sees that more was to come.
//
// For deflate, there is a library that compresses without state. For zstd there is none, so this package has an encoder of
// its blocks. It finds matches with a single hash table, describes a block's own distributions of them if there are many,
// and has the literals Huffman-coded by a library.
package compress
