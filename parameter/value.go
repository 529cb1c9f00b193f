package parameter

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/fleetwright/fleetwright/secret"
)

// Value is the value of a parameter: open text, or a secret. Every way of printing a secret one gives secret.Mask (rule R-12); what it is is told by [Value.Reveal] only. The zero
// Value is the empty text. Values are immutable and safe for concurrent use.
type Value struct {
	text   string
	hidden secret.Value
	secret bool
}

// Text returns a value that prints as it is: of a String or a StringList, or the ciphertext of a SecureString.
func Text(s string) Value { return Value{text: s} }

// Secret returns a value that prints as nothing.
func Secret(v secret.Value) Value { return Value{hidden: v, secret: true} }

// IsSecret reports whether v hides.
func (v Value) IsSecret() bool { return v.secret }

// Reveal returns the text itself, secret or not: the caller must not log it.
func (v Value) Reveal() string {
	if v.secret {
		return string(v.hidden.Reveal())
	}
	return v.text
}

// Secret returns the bytes as a secret, whether or not v hides.
func (v Value) Secret() secret.Value {
	if v.secret {
		return v.hidden
	}
	return secret.String(v.text)
}

// Len returns the number of bytes.
func (v Value) Len() int {
	if v.secret {
		return v.hidden.Len()
	}
	return len(v.text)
}

// Equal compares what is held; secrets in time that depends on the lengths only.
func (v Value) Equal(w Value) bool {
	if v.secret || w.secret {
		return v.Secret().Equal(w.Secret())
	}
	return v.text == w.text
}

// String returns the text, of a secret secret.Mask.
func (v Value) String() string {
	if v.secret {
		return secret.Mask
	}
	return v.text
}

// GoString returns String's text, quoted.
func (v Value) GoString() string { return strconv.Quote(v.String()) }

// Format writes String's text by the verb.
func (v Value) Format(f fmt.State, verb rune) {
	if v.secret {
		io.WriteString(f, secret.Mask) //nolint:errcheck // fmt.State never fails
		return
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), v.text)
}

// MarshalText returns String's text.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalJSON returns String's text as a JSON string: a face that must answer a secret reveals it itself.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(v.String()) }

// UnmarshalJSON reads a JSON string. The value is a secret, as nothing is known of it yet.
func (v *Value) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*v = Secret(secret.String(s))
	return nil
}

// LogValue returns String's text.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }
