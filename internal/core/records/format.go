package records

import (
	"fmt"
	"strings"
)

// Format says how the bytes of an upstream become records. The zero value is Auto.
type Format uint8

const (
	// Auto stands for the format that ForContentType returns. A Splitter treats Auto as Lines.
	Auto Format = iota
	// Lines ends a record at each LF and drops one CR before it.
	Lines
	// NDJSON is the same as Lines, but each record is a JSON value.
	NDJSON
	// JSONSeq is RFC 7464: an RS begins a record.
	JSONSeq
	// JSON is JSON values one after another, with white space or nothing between them. The elements of a top-level array
	// are records.
	JSON
	// EventStream is Server-Sent Events (WHATWG HTML §9.2.6). Each event is a record, and its data is the text of the
	// record.
	EventStream
)

var formatNames = [...]string{"auto", "lines", "ndjson", "json_seq", "json", "event_stream"}

// FormatNames returns the names that ParseFormat takes.
func FormatNames() []string { return formatNames[:] }

// ParseFormat returns the format with this name in a config.
func ParseFormat(name string) (Format, error) {
	for f, n := range formatNames {
		if n == name {
			return Format(f), nil
		}
	}
	return Auto, fmt.Errorf("unknown record format %q: use one of %s", name, strings.Join(formatNames[:], ", "))
}

// String returns the name that ParseFormat takes.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// IsJSON reports whether each record in this format should be JSON.
func (f Format) IsJSON() bool {
	return f == NDJSON || f == JSONSeq || f == JSON
}

// IsLines reports whether each record in this format is a line of text.
func (f Format) IsLines() bool { return f == Auto || f == Lines }

// Announcement is what a Content-Type says about the body of a response.
type Announcement uint8

const (
	// NotRecords: the body is something else, such as a page, an image or a file.
	NotRecords Announcement = iota
	// MaybeRecords: the body may be records or a document. It is plain text, JSON, or has no type.
	MaybeRecords
	// AreRecords: the body is a sequence of records.
	AreRecords
)

// ForContentType returns the format that Auto stands for with this Content-Type, and what the type announces. An unknown or empty
// type is Lines.
func ForContentType(contentType string) (Format, Announcement) {
	mediaType, params, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	switch mediaType {
	case "text/event-stream":
		return EventStream, AreRecords
	case "application/json-seq", "application/geo+json-seq":
		return JSONSeq, AreRecords
	case "application/x-ndjson", "application/ndjson", "application/jsonl",
		"application/x-jsonlines", "application/jsonlines",
		"application/stream+json":
		return NDJSON, AreRecords
	case "application/json":
		if isWatch(params) {
			return NDJSON, AreRecords
		}
		return NDJSON, MaybeRecords
	case "text/plain", "":
		return Lines, MaybeRecords
	}
	if strings.HasSuffix(mediaType, "+json") {
		return NDJSON, MaybeRecords
	}
	return Lines, NotRecords
}

// isWatch reports whether a JSON response is a watch in the Kubernetes API, which has one event in each line.
func isWatch(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		if strings.EqualFold(strings.TrimSpace(param), "stream=watch") {
			return true
		}
	}
	return false
}

// Oversize says what happens to a record larger than Options.MaxSize. The zero value is Skip.
type Oversize uint8

const (
	// Skip drops the record.
	Skip Oversize = iota
	// Truncate cuts the record's text at a character boundary.
	Truncate
	// Fail ends the stream.
	Fail
)

// ParseOversize returns the policy with this name in a config: skip, truncate or error.
func ParseOversize(name string) (Oversize, error) {
	switch name {
	case "skip":
		return Skip, nil
	case "truncate":
		return Truncate, nil
	case "error":
		return Fail, nil
	}
	return Skip, fmt.Errorf("unknown policy %q for records that are too large: use skip, truncate or error", name)
}
