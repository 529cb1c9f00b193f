package rpm

import (
	"errors"
	"strconv"

	"github.com/fleetwright/fleetwright/fault"
)

// Limits bound what a reader takes, so that a hostile or damaged file costs a bounded amount of memory and time. The zero value
// of a field, and a nil *Limits, stand for the default.
type Limits struct {
	Token  int   // bytes of one tag or one run of text, and of one line of rpm's output; default 4 MiB
	Depth  int   // elements inside each other; default 32
	Total  int64 // bytes of one file once decompressed; default 2 GiB
	Window int64 // bytes of history that a decompressor may ask for; default 128 MiB
}

func (l *Limits) orDefault() Limits {
	d := Limits{Token: 4 << 20, Depth: 32, Total: 2 << 30, Window: 128 << 20}
	if l == nil {
		return d
	}
	if l.Token > 0 {
		d.Token = l.Token
	}
	if l.Depth > 0 {
		d.Depth = l.Depth
	}
	if l.Total > 0 {
		d.Total = l.Total
	}
	if l.Window > 0 {
		d.Window = l.Window
	}
	return d
}

func bad(op, file string, line int, format string, args ...any) error {
	return placed(fault.New(op, fault.Validation, format, args...), file, line)
}

func tooBig(op, file string, line int, format string, args ...any) error {
	return placed(fault.New(op, fault.MaxDocumentSizeExceeded, format, args...), file, line)
}

func placed(e *fault.Error, file string, line int) error {
	e.ID = fault.Clean(file)
	if line > 0 {
		e.ID += ":" + strconv.Itoa(line)
	}
	e.Msg = e.ID + ": " + e.Msg
	return e
}

// wrap gives an error of a reader below a place, unless it has one.
func wrap(op, file string, line int, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	e := fault.New(op, fault.Validation, "cannot be read to its end")
	e.Err = err
	return placed(e, file, line)
}
