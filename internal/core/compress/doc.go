// Package compress compresses event streams, so that each event arrives at once, and many clients share the work.
//
// The compressor of a library keeps half a megabyte for each stream. Its next output depends on everything that it has
// written before: on the text in its window, and on the entropy tables of the last block. So each client would need a
// compressor of its own.
//
// In this package, a text becomes blocks that depend only on the history: the text that the client has decoded right before.
// The blocks do not use entropy tables or offsets from earlier blocks. With the same history, the same text becomes the same
// blocks for every client. So a text for many clients is compressed once for all of them (see [Shared]). A compressor keeps no
// state between two texts: it comes from a pool and reads the history again. A history of one or two kilobytes is enough,
// because an event is similar to the events before it.
//
// A client gets one gzip member or one zstd frame from its first byte to its last, because not all decoders accept several.
//
//   - The blocks of a text end at a byte boundary. In deflate, an empty stored block ensures that.
//   - A client that joins has no history. Its first text refers to nothing, its second text refers to the first, and so on.
//     For shared text, the length of a history is a power of two. So clients that join at different times soon get the same
//     blocks as all others.
//   - A text for one client, such as a heartbeat, may come at any time. It changes the distance to the text before it. So the
//     client's history starts again after it.
//   - A client that is behind gets everything that it has missed as one text.
//
// The checksum at the end of a gzip member covers the client's own text, so each client computes its own. A stream that is
// broken off has no end, so its decoder notices that more was to come.
//
// A library compresses deflate without state. There is none for zstd, so this package has an encoder for zstd blocks. It finds
// matches with a single hash table. If a block has many matches, it describes their distributions in the block. A library
// encodes the literals (Huffman).
package compress
