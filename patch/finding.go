package patch

import (
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Finding is something wrong, or doubtful, in a baseline or a list.
type Finding struct {
	Path    string // where: $.ApprovalRules.PatchRules[0].ApproveAfterDays
	Message string // what is wrong and what to do
	Warning bool   // AWS would accept it, but it does not do what it seems to
}

// String returns "path: message".
func (f Finding) String() string {
	if f.Warning {
		return f.Path + ": warning: " + f.Message
	}
	return f.Path + ": " + f.Message
}

// Findings are all that is wrong with one input. As an error their code is ValidationException.
type Findings []Finding

// shownFindings is how many Error prints.
const shownFindings = 20

// Error prints the findings, AWS's way of counting them first.
func (fs Findings) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d validation error", len(fs))
	if len(fs) != 1 {
		b.WriteByte('s')
	}
	b.WriteString(" detected: ")
	for i, f := range fs {
		if i == shownFindings {
			fmt.Fprintf(&b, "; and %d more", len(fs)-shownFindings)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.String())
	}
	return b.String()
}

// FaultCode returns ValidationException.
func (fs Findings) FaultCode() fault.Code { return fault.Validation }

func (fs *Findings) add(path, format string, args ...any) {
	*fs = append(*fs, Finding{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (fs *Findings) warn(path, format string, args ...any) {
	*fs = append(*fs, Finding{Path: path, Message: fmt.Sprintf(format, args...), Warning: true})
}

// err returns nil for no findings.
func (fs Findings) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// quote shows a value that a stranger wrote, short and escaped.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return "'" + fault.Clean(s) + "'"
}
