package ssmops

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Codes of the protocol itself, spelled as AWS does.
const (
	serialization    fault.Code = "SerializationException"
	unknownOperation fault.Code = "UnknownOperationException"
	tooLarge         fault.Code = "RequestEntityTooLargeException"
)

// lowerCase reports whether the text of an error stands under "message" instead of "Message": codes whose shapes at AWS have it so, those whose shapes have no member for a text, and those of the protocol.
func lowerCase(c fault.Code) bool {
	switch c {
	case "AssociatedInstances", "AssociationAlreadyExists", "AssociationLimitExceeded", fault.DuplicateInstanceID, fault.InvalidCommandID, fault.InvalidFilterKey,
		fault.InvalidOutputFolder, "InvalidOutputLocation", fault.InvalidPluginName, fault.InvalidResourceID, fault.InvalidResourceType, fault.InvocationDoesNotExist,
		"ResourceDataSyncAlreadyExistsException", "StatusUnchanged", fault.TooManyTags:
		return true
	case "InvalidKeyId", "InvalidFilterOption", "InvalidAllowedPatternException", "InvalidInstanceInformationFilterValue", "InvalidInstancePropertyFilterValue", "UnsupportedParameterType",
		fault.Unauthorized, unknownOperation, serialization, tooLarge, fault.AccessDenied, fault.Throttling:
		return true
	}
	s := string(c)
	return strings.HasPrefix(s, "Parameter") || strings.HasPrefix(s, "Hierarchy") || strings.HasPrefix(s, "Policy") || strings.HasPrefix(s, "OpsMetadata")
}

// status returns the HTTP status of an error: 400 for what AWS models, as there.
func status(c fault.Code) int {
	if c == tooLarge {
		return http.StatusRequestEntityTooLarge
	}
	switch c.Kind() {
	case fault.Denied:
		return http.StatusForbidden
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Internal, fault.Corrupt, fault.Unknown:
		return http.StatusInternalServerError
	case fault.Unavailable, fault.Canceled:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// maxText is the longest text of an error that a caller is told, in bytes.
const maxText = 4096

// textOf returns what a caller is told of an error: what to do, printable, and nothing of the inside.
func textOf(err error) string {
	switch fault.KindOf(err) {
	case fault.Internal, fault.Corrupt:
		return "internal error: the control plane's log has it under the request id"
	case fault.Unauthenticated:
		return "the request has no valid credentials"
	}
	s := said(err)
	if s == "" && errors.Is(err, store.ErrReadOnly) {
		s = "the control plane takes no changes at present, most often because its disk is full; what is there can be read, try again later"
	}
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return cleanLines(s)
}

// said is the text of the outermost error that has one for people: the message of a fault, or an error that brings a code of its own. What only a program wrote is left out.
func said(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch f := e.(type) {
		case *fault.Error:
			if f.Msg != "" {
				return f.Msg
			}
		case interface{ FaultCode() fault.Code }:
			return e.Error()
		}
	}
	return ""
}

// cleanLines makes text printable and keeps its lines: the findings of a document are one a line.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = fault.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// errorBody is the JSON of an error: {"__type":"Code","Message":"…"}.
func errorBody(err error) []byte {
	code := fault.CodeOf(err)
	if code == "" {
		code = fault.InternalServerError
	}
	body := struct {
		Type  string `json:"__type"`
		Upper string `json:"Message,omitempty"`
		Lower string `json:"message,omitempty"`
	}{Type: fault.Clean(string(code))}
	if lowerCase(code) {
		body.Lower = textOf(err)
	} else {
		body.Upper = textOf(err)
	}
	b, err := encode(body)
	if err != nil {
		return []byte(`{"__type":"InternalServerError"}`)
	}
	return b
}

// encode writes compact JSON as AWS does: no blanks, no escapes that JSON does not ask for.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.New("ssmops.encode", fault.InternalServerError, "the answer cannot be written: %w", err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// decode reads a request. An empty body is an empty request, members that are not known are left alone, as AWS does.
func decode(op string, in []byte, v any) error {
	if len(strings.TrimSpace(string(in))) == 0 {
		return nil
	}
	err := json.Unmarshal(in, v)
	var te *json.UnmarshalTypeError
	var fe *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fe):
		return fault.New(op, serialization, "%s", fe.Msg)
	case errors.As(err, &te) && te.Field != "":
		return fault.New(op, serialization, "%s cannot be a JSON %s", clip(te.Field), te.Value)
	case errors.As(err, &te):
		return fault.New(op, serialization, "the request must be a JSON object, not a JSON %s", te.Value)
	}
	var se *json.SyntaxError
	if errors.As(err, &se) {
		return fault.New(op, serialization, "the request is no JSON: byte %d: %s", se.Offset, clip(se.Error()))
	}
	return fault.New(op, serialization, "the request cannot be read: %s", clip(err.Error()))
}

// clip is a stranger's text, short and printable.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fault.Clean(s)
}
