package sse

import (
	"errors"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
)

// Errors that end a stream because of a record, by config.
var (
	errRecordTooLarge = errors.New("a record is larger than max_record_size")
	errRecordInvalid  = errors.New("a record is not JSON, and on_invalid is error")
)

// Reasons for which a record is skipped, as the log says them.
const (
	tooLargeAlone    = "record is larger than max_record_size"
	tooLargeTogether = "unfinished record dropped, as those of all senders are too large together"
)

// unfinishedSize is how much an upstream's senders may leave unfinished together.
const unfinishedSize = 64 << 20

// newBudget returns the budget of an upstream's inputs.
func newBudget() *records.Budget { return records.NewBudget(unfinishedSize) }

// consumer is where records go: a stream of its own, or a source that streams share.
type consumer interface {
	counts() *metrics.Meters          // of the config, between begin and commit
	begin()                           // the records of one read follow; no other input's come between
	record(rec *records.Record) error // takes it; sets its number
	skipped(why string)               // a record was larger than allowed
	blank()                           // the upstream's heartbeat
	retry(ms int64)                   // the upstream says when to come back
	position(id []byte)               // an event stream's id without an event; the next record has it too
	gap(reason string)                // records were lost
	commit() error                    // what came together leaves together
}

// input makes records of an upstream's bytes. It implements Input.
type input struct {
	to       consumer
	options  records.Options
	splitter *records.Splitter
	rec      records.Record
	err      error // nobody wants more

	// For records whose id is their place (At): what makes it, and the offset of the splitter's first byte.
	appendID func(dst []byte, offset int64) []byte
	origin   int64
	fed      int64
	placeID  []byte
}

// newInput makes an input. The budget bounds what all inputs of an upstream leave unfinished; nil: nothing does.
func newInput(to consumer, o records.Options, budget *records.Budget) *input {
	o.Budget = budget
	return &input{to: to, options: o, splitter: records.New(o), rec: records.Record{WantsJSON: o.Format.IsJSON()}}
}

func (in *input) Write(p []byte) (int, error) {
	in.splitter.Feed(p)
	in.fed += int64(len(p))
	if err := in.deliver(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (in *input) End(clean bool) error {
	in.splitter.Finish(clean)
	err := in.deliver()
	in.splitter = records.New(in.options)
	in.origin += in.fed
	in.fed = 0
	return err
}

func (in *input) At(appendID func([]byte, int64) []byte, offset int64) {
	in.appendID = appendID
	in.origin = offset - in.fed
	if in.fed == 0 && offset > 0 {
		in.splitter.Resume()
	}
}

func (in *input) Gap() error {
	in.to.begin()
	in.to.gap(frame.GapUpstream)
	return in.to.commit()
}

func (in *input) deliver() error {
	if in.err != nil {
		return in.err
	}
	in.to.begin()
	in.err = in.next()
	if err := in.to.commit(); in.err == nil {
		in.err = err
	}
	return in.err
}

func (in *input) next() error {
	for {
		switch in.splitter.Next(&in.rec) {
		case records.NeedMore:
			return in.lost()
		case records.IsRecord:
			if in.rec.Truncated {
				in.to.counts().RecordsDropped.Truncated.Inc()
			}
			if in.rec.IDDropped {
				in.to.counts().FieldsDropped.ID.Inc()
			}
			if in.rec.EventDropped {
				in.to.counts().FieldsDropped.Event.Inc()
			}
			if in.appendID != nil {
				in.placeID = in.appendID(in.placeID[:0], in.origin+in.rec.End)
				in.rec.ID = in.placeID
			}
			if err := in.to.record(&in.rec); err != nil {
				return err
			}
		case records.IsBlank:
			in.to.blank()
		case records.IsRetry:
			in.to.retry(in.rec.Retry)
		case records.IsID:
			if in.appendID == nil {
				in.to.position(in.rec.ID)
			}
		case records.IsSkipped:
			in.to.counts().RecordsDropped.TooLarge.Inc()
			in.to.skipped(tooLargeAlone)
		case records.IsTooLarge:
			in.to.counts().RecordsDropped.TooLarge.Inc()
			return errRecordTooLarge
		}
	}
}

// lost tells of records that had to go to make room for what this input was given. They need not be its own.
func (in *input) lost() error {
	for range in.options.Budget.TakeLost() {
		in.to.counts().RecordsDropped.TooLarge.Inc()
		if in.options.Oversize == records.Fail {
			return errRecordTooLarge
		}
		in.to.skipped(tooLargeTogether)
	}
	return nil
}

// endInputs ends an upstream's inputs after it has ended with err. It returns how it has ended, records in progress
// included.
func endInputs(inputs []*input, err error) error {
	clean := endedCleanly(err)
	for _, in := range inputs {
		if endErr := in.End(clean); clean && endErr != nil {
			clean, err = false, endErr
		}
	}
	return err
}

var _ Input = (*input)(nil)
