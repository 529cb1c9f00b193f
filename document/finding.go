package document

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Severity says what a finding means for the document.
type Severity uint8

// The severities, worst first.
const (
	// Error: AWS refuses the document, or it cannot run, or running it would not do what it says.
	Error Severity = iota
	// Warning: it runs, and may hurt somebody.
	Warning
	// Advice: it runs, and could be clearer.
	Advice
)

// String returns "error", "warning" or "advice".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	}
	return "advice"
}

// MarshalText makes severities words in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that is wrong with a document, or could be better, with its place.
type Finding struct {
	Code     string     `json:"code"`           // short and stable, such as "unknown-action"
	Severity Severity   `json:"severity"`       // error, warning or advice
	File     string     `json:"file,omitempty"` // as given in Options
	Line     int        `json:"line"`           // from 1; 0 when the finding has no place in the text
	Column   int        `json:"column"`         // from 1, in characters
	Path     string     `json:"path,omitempty"` // JSON path: $.mainSteps[0].inputs.runCommand[2]
	Message  string     `json:"message"`        // what is wrong and what to do
	Fix      string     `json:"fix,omitempty"`  // what to write instead, where that is mechanical
	Fault    fault.Code `json:"-"`              // AWS's error code for findings of severity Error
	Edits    []Edit     `json:"-"`              // the fix as changes of the source, to be made together ([Apply]); nil where it is not mechanical
}

// String returns "file:line:col: severity: message [code]"; what is unknown is left out.
func (f Finding) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File + ":")
	}
	if f.Line > 0 {
		b.WriteString(strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column) + ":")
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.Severity.String() + ": " + f.Message + " [" + f.Code + "]")
	return b.String()
}

// Findings is a list of findings in the order of their places. As an error it stands for everything that is wrong at once.
type Findings []Finding

// shown is how many findings Error prints.
const shown = 8

// Error prints the first findings, one a line, and how many more there are.
func (fs Findings) Error() string {
	var b strings.Builder
	for i, f := range fs {
		if i == shown {
			fmt.Fprintf(&b, "\nand %d more", len(fs)-shown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.String())
	}
	return b.String()
}

// Errors returns the findings of severity Error.
func (fs Findings) Errors() Findings {
	var out Findings
	for _, f := range fs {
		if f.Severity == Error {
			out = append(out, f)
		}
	}
	return out
}

// FaultCode returns AWS's error code: that of the first finding of severity Error, InvalidDocumentContent where it has none. The schema
// version and the size are reported before the content (D4, D5).
func (fs Findings) FaultCode() fault.Code {
	best, rank := fault.InvalidDocumentContent, 3
	for _, f := range fs {
		if f.Severity != Error || f.Fault == "" {
			continue
		}
		r := 2
		switch f.Fault {
		case fault.MaxDocumentSizeExceeded:
			r = 0
		case fault.InvalidDocumentSchemaVersion:
			r = 1
		}
		if r < rank {
			best, rank = f.Fault, r
		}
	}
	return best
}
