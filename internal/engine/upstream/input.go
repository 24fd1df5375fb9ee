package upstream

import (
	"bytes"
	"errors"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Errors that end a stream because of a record, by config.
var (
	ErrRecordTooLarge = errors.New("a record is larger than max_record_size")
	ErrRecordInvalid  = errors.New("a record is not what format or parse says, and on_invalid is error")
)

// ErrLastRecord ends an upstream after the record that end_when has selected. It is a clean end.
var ErrLastRecord = errors.New("end_when has selected the last record")

// ErrStopped ends an upstream that a client has stopped. It is a clean end.
var ErrStopped = errors.New("a client has stopped the source")

// FailureRecord ends an upstream whose record, selected by error_when, says that it has failed.
type FailureRecord struct{ Text []byte }

func (*FailureRecord) Error() string {
	return "upstream says that it has failed: error_when selects its record"
}

// NewFailureRecord returns the error of a record, of which it keeps a copy.
func NewFailureRecord(rec *records.Record) error { return &FailureRecord{bytes.Clone(rec.Text)} }

// Reasons for which a record is skipped, as the log says them.
const (
	RecordTooLarge   = "record is larger than max_record_size"
	tooLargeTogether = "unfinished record dropped, as those of all senders are too large together"
)

// unfinishedSize is how much an upstream's senders may leave unfinished together.
const unfinishedSize = 64 << 20

// NewBudget returns the budget of an upstream's inputs.
func NewBudget() *records.Budget { return records.NewBudget(unfinishedSize) }

// Consumer is where records go: a stream of its own, or a source that streams share.
type Consumer interface {
	Counts() *metrics.Meters          // of the config, between begin and commit
	Begin()                           // the records of one read follow; no other input's come between
	Record(rec *records.Record) error // takes it; sets its number
	Skipped(why string)               // a record was larger than allowed
	Blank()                           // the upstream's heartbeat
	Retry(ms int64)                   // the upstream says when to come back
	Position(id []byte)               // an event stream's id without an event; the next record has it too
	Gap(reason string)                // records were lost
	Commit() error                    // what came together leaves together
}

// Input makes records of an upstream's bytes. It implements Input.
type Input struct {
	to       Consumer
	options  records.Options
	splitter *records.Splitter
	rec      records.Record
	err      error // nobody wants more

	// After SetOffset, each record's id is made from its offset.
	appendID func(dst []byte, offset int64) []byte
	origin   int64  // the offset of the splitter's first byte
	fed      int64  // bytes that the splitter has been fed
	offsetID []byte // scratch
}

// NewInput returns an input. The budget bounds the unfinished records of all inputs of an upstream. Nil does not.
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

// lost reports records that were dropped to make room for this input. They may be those of other inputs.
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

// EndInputs ends an upstream's inputs after it has ended with err. It returns how it has ended, records in progress
// included. What comes after the last record does not count.
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
