package apt

import (
	"errors"

	"github.com/fleetwright/fleetwright/fault"
)

// Limits bound what a reader takes, so that a hostile or damaged file costs a bounded amount of memory and time. The zero value
// of a field, and a nil *Limits, stand for the default.
type Limits struct {
	Line   int   // bytes of one line; default 1 MiB
	Stanza int   // bytes of one stanza; default 4 MiB
	Total  int64 // bytes of one file once decompressed; default 1 GiB
	Window int64 // bytes of history that a decompressor may ask for; default 128 MiB (xz -9 and zstd --ultra need 64 and 128)
}

func (l *Limits) orDefault() Limits {
	d := Limits{Line: 1 << 20, Stanza: 4 << 20, Total: 1 << 30, Window: 128 << 20}
	if l == nil {
		return d
	}
	if l.Line > 0 {
		d.Line = l.Line
	}
	if l.Stanza > 0 {
		d.Stanza = l.Stanza
	}
	if l.Total > 0 {
		d.Total = l.Total
	}
	if l.Window > 0 {
		d.Window = l.Window
	}
	return d
}

// bad returns the error of a file that is not as it should be; line 0 leaves the line out.
func bad(op, file string, line int, format string, args ...any) error {
	e := fault.New(op, fault.Validation, format, args...)
	e.ID = place(file, line)
	e.Msg = e.ID + ": " + e.Msg
	return e
}

// tooBig returns the error of a file that passes one of its limits.
func tooBig(op, file string, line int, format string, args ...any) error {
	e := fault.New(op, fault.MaxDocumentSizeExceeded, format, args...)
	e.ID = place(file, line)
	e.Msg = e.ID + ": " + e.Msg
	return e
}

func place(file string, line int) string {
	file = fault.Clean(file)
	if line <= 0 {
		return file
	}
	return file + ":" + itoa(line)
}

// wrap gives an error of a reader below a place, unless it has one.
func wrap(op, file string, line int, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	e := fault.New(op, fault.Validation, "%s: cannot be read to its end", place(file, line))
	e.ID, e.Err = place(file, line), err
	return e
}
