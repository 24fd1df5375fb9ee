package upstream

import (
	"bytes"
	"errors"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Errors that end a stream because of a record.
var (
	ErrRecordTooLarge = errors.New("a record is larger than max_record_size")
	ErrRecordInvalid  = errors.New("a record is not what format or parse says, and on_invalid is error")
)

// ErrLastRecord ends an upstream after the record that end_when selected. It is a clean end.
var ErrLastRecord = errors.New("end_when has selected the last record")

// ErrStopped ends an upstream that a client stopped. It is a clean end.
var ErrStopped = errors.New("a client has stopped the source")

// FailureRecord is the error that ends an upstream after the record that error_when selected.
type FailureRecord struct{ Text []byte }

func (*FailureRecord) Error() string {
	return "upstream says that it has failed: error_when selects its record"
}

// NewFailureRecord returns the error for a record. It copies the record's text.
func NewFailureRecord(rec *records.Record) error { return &FailureRecord{bytes.Clone(rec.Text)} }

// The reasons for a skipped record, as log messages.
const (
	RecordTooLarge   = "record is larger than max_record_size"
	tooLargeTogether = "unfinished record dropped, as those of all senders are too large together"
)

// unfinishedSize is the most bytes of unfinished records from all senders of an upstream.
const unfinishedSize = 64 << 20

// NewBudget returns the budget for the inputs of one upstream.
func NewBudget() *records.Budget { return records.NewBudget(unfinishedSize) }

// Consumer takes the records of an upstream: one stream, or a source that streams share. Call its methods between Begin and Commit.
type Consumer interface {
	Begin()                           // starts the records of one read; no other input can start until Commit
	Counts() *metrics.Meters          // returns the meters to count with
	Record(rec *records.Record) error // takes a record, and sets its number
	Skipped(why string)               // says that a record was too large
	Blank()                           // says that the upstream has sent a heartbeat
	Retry(ms int64)                   // says that the upstream has sent a reconnection time
	Position(id []byte)               // says that the upstream has sent an id without an event; the next record has it too
	Gap(reason string)                // says that records were lost
	Commit() error                    // ends the records of one read, which are sent together
}

// Input turns an upstream's bytes into records. It implements backend.Input.
type Input struct {
	to       Consumer
	options  records.Options
	splitter *records.Splitter
	rec      records.Record
	err      error // the Consumer's error: nobody wants more

	// After SetOffset, each record's id is made from its offset.
	appendID func(dst []byte, offset int64) []byte
	origin   int64  // the offset of the splitter's first byte
	fed      int64  // bytes that the splitter has been fed
	offsetID []byte // scratch
}

// NewInput returns an input. The budget limits the unfinished records in all inputs of an upstream. Nil means no limit.
func NewInput(to Consumer, o records.Options, budget *records.Budget) *Input {
	o.Budget = budget
	return &Input{to: to, options: o, splitter: records.New(o), rec: records.Record{WantsJSON: o.Format.IsJSON(), IsLine: o.Format.IsLines()}}
}

func (in *Input) Write(p []byte) (int, error) {
	in.splitter.Feed(p)
	in.fed += int64(len(p))
	if err := in.deliver(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (in *Input) End(clean bool) error {
	in.splitter.Finish(clean)
	err := in.deliver()
	in.splitter = records.New(in.options)
	in.origin += in.fed
	in.fed = 0
	return err
}

func (in *Input) SetOffset(offset int64, appendID func([]byte, int64) []byte) {
	in.appendID = appendID
	in.origin = offset - in.fed
	if in.fed == 0 && offset > 0 {
		in.splitter.Resume()
	}
}

func (in *Input) Gap() error {
	in.to.Begin()
	in.to.Gap(frame.GapUpstream)
	return in.to.Commit()
}

func (in *Input) deliver() error {
	if in.err != nil {
		return in.err
	}
	in.to.Begin()
	in.err = in.next()
	if err := in.to.Commit(); in.err == nil {
		in.err = err
	}
	return in.err
}

func (in *Input) next() error {
	for {
		switch in.splitter.Next(&in.rec) {
		case records.NeedMore:
			return in.lost()
		case records.IsRecord:
			if in.rec.Truncated {
				in.to.Counts().RecordsDropped.Truncated.Inc()
			}
			if in.rec.IDDropped {
				in.to.Counts().FieldsDropped.ID.Inc()
			}
			if in.rec.EventDropped {
				in.to.Counts().FieldsDropped.Event.Inc()
			}
			if in.appendID != nil {
				in.offsetID = in.appendID(in.offsetID[:0], in.origin+in.rec.End)
				in.rec.ID = in.offsetID
			}
			if err := in.to.Record(&in.rec); err != nil {
				return err
			}
		case records.IsBlank:
			in.to.Blank()
		case records.IsRetry:
			in.to.Retry(in.rec.Retry)
		case records.IsID:
			if in.appendID == nil {
				in.to.Position(in.rec.ID)
			}
		case records.IsSkipped:
			in.to.Counts().RecordsDropped.TooLarge.Inc()
			in.to.Skipped(RecordTooLarge)
		case records.IsTooLarge:
			in.to.Counts().RecordsDropped.TooLarge.Inc()
			return ErrRecordTooLarge
		}
	}
}

// lost reports records that were dropped for the budget. They may be from other inputs.
func (in *Input) lost() error {
	for range in.options.Budget.TakeLost() {
		in.to.Counts().RecordsDropped.TooLarge.Inc()
		if in.options.Oversize == records.Fail {
			return ErrRecordTooLarge
		}
		in.to.Skipped(tooLargeTogether)
	}
	return nil
}

// EndInputs ends the inputs of an upstream whose Stream returned err, and so sends or drops the records in progress. It returns the
// final result, in which an error of those records replaces a clean end. After ErrLastRecord, there is nothing more to send.
func EndInputs(inputs []*Input, err error) error {
	clean := EndedCleanly(err)
	for _, in := range inputs {
		if errors.Is(err, ErrLastRecord) {
			break
		}
		if endErr := in.End(clean); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	if errors.Is(err, ErrLastRecord) {
		return nil
	}
	return err
}

var _ backend.Input = (*Input)(nil)
