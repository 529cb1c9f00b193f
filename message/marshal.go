package message

import (
	"encoding/json"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects of a body may nest.
const MaxDepth = 32

// kindOf returns the kind of a body, a value or a pointer to one of the types of this package.
func kindOf(body any) Kind {
	switch body.(type) {
	case Offer, *Offer:
		return KindOffer
	case Run, *Run:
		return KindRun
	case Cancel, *Cancel:
		return KindCancel
	case Ack, *Ack:
		return KindAck
	case Welcome, *Welcome:
		return KindWelcome
	case Hello, *Hello:
		return KindHello
	case Ready, *Ready:
		return KindReady
	case Report, *Report:
		return KindReport
	case Output, *Output:
		return KindOutput
	case Keys, *Keys:
		return KindKeys
	case Pinned, *Pinned:
		return KindPinned
	case Ask, *Ask:
		return KindAsk
	case Answer, *Answer:
		return KindAnswer
	}
	return ""
}

// Marshal returns the body of an envelope of the kind. Errors are ErrMalformed: body is not the kind's type, or its JSON is over MaxBody.
func Marshal(kind Kind, body any) ([]byte, error) {
	if k := kindOf(body); k != kind || k == "" {
		return nil, malformed("%T is not the body of kind %s", body, show(string(kind)))
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, malformed("the body of kind %s has no JSON: %w", kind, err)
	}
	if len(b) > MaxBody {
		return nil, malformed("the body of kind %s has %d bytes, more than %d: send less at once", kind, len(b), MaxBody)
	}
	return b, nil
}

// Unmarshal returns the body of e. Fields that T does not have are ignored, so that a newer sender is understood; what must not be ignored travels in Offer.Needs (rule
// Errors are ErrMalformed: e is not of T's kind, or its body is no JSON object, is no UTF-8, or nests deeper than MaxDepth.
func Unmarshal[T any](e Envelope) (T, error) {
	var body T
	if k := kindOf(body); k != e.Kind || k == "" {
		return body, malformed("%T is not the body of kind %s", body, show(string(e.Kind)))
	}
	if err := checkJSON(e.Body); err != nil {
		return body, err
	}
	if err := json.Unmarshal(e.Body, &body); err != nil {
		var zero T
		return zero, malformed("the body is not of kind %s: %w", e.Kind, err)
	}
	return body, nil
}

// checkJSON checks the limits that encoding/json has not. It is no parser: what it passes may still be no JSON.
func checkJSON(b []byte) error {
	switch {
	case len(b) > MaxBody:
		return malformed("the body has %d bytes, more than %d", len(b), MaxBody)
	case len(b) == 0 || b[0] != '{':
		return malformed("the body is no JSON object")
	case !utf8.Valid(b):
		return malformed("the body is no UTF-8")
	}
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return malformed("the body nests deeper than %d", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
