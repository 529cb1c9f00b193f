package httptransport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// status returns the HTTP status of an error's kind.
func status(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Exists, fault.Conflict:
		return http.StatusConflict
	case fault.Denied:
		return http.StatusForbidden
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Limit:
		return http.StatusRequestEntityTooLarge
	case fault.Throttled, fault.Unavailable, fault.Canceled:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (s *Server) serveEnroll(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Enroll == nil {
		writeProblem(w, http.StatusNotFound, fault.UnsupportedOperation, "this control plane takes no enrolments here")
		return
	}
	if !s.begin() {
		s.sendAway(w, s.enroll.later(time.Now()))
		return
	}
	defer s.running.Done()
	if after, ok := s.enroll.take(time.Now()); !ok {
		s.sendAway(w, after)
		return
	}
	body, ok := readBody(w, r, maxEnroll)
	if !ok {
		return
	}
	answer, err := s.cfg.Enroll(r.Context(), r.RemoteAddr, body)
	if err == nil && len(answer) > maxEnroll {
		err = fmt.Errorf("the answer has %d bytes", len(answer))
	}
	if err != nil {
		msg := "internal error; the control plane's log has it"
		var f *fault.Error
		if errors.As(err, &f) && f.Kind() != fault.Internal {
			msg = fault.MessageOf(f)
		}
		s.log.Warn("an enrolment failed", "remote", r.RemoteAddr, "code", fault.CodeOf(err), "error", err)
		writeProblem(w, status(err), fault.CodeOf(err), msg)
		return
	}
	w.Header().Set("Content-Type", typeBytes)
	w.Write(answer)
}

// Enroll sends body to the control plane's enrolment and returns its answer. It needs no identity: cfg's Address and Key are not looked at. It tries once. An error is a *fault.Error with the code
// that the control plane gave, ThrottlingException when it has too much to do, or ServiceUnavailable when it could not be reached or the answer got lost: it may have been carried
// out then (AWS's RegisterManagedInstance has the same trap), so an enrolment should be one that may be repeated.
func Enroll(ctx context.Context, cfg ClientConfig, body []byte) ([]byte, error) {
	const op = "httptransport.Enroll"
	if len(body) > maxEnroll {
		return nil, fault.New(op, fault.Validation, "the request has %d bytes, at most %d are taken", len(body), maxEnroll)
	}
	urls, err := cfg.urls()
	if err != nil {
		return nil, err
	}
	tr, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, urls[0]+pathEnroll, bytes.NewReader(body))
	if err != nil {
		return nil, fault.New(op, fault.Validation, "the URL of the control plane: %w", err)
	}
	req.Header.Set("Content-Type", typeBytes)
	resp, err := httpClient(tr).Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.Wrap(op, ctx.Err())
		}
		return nil, fault.New(op, fault.ServiceUnavailable, "the control plane could not be reached: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEnroll+1))
	switch {
	case err != nil || len(answer) > maxEnroll:
		return nil, fault.New(op, fault.ServiceUnavailable, "the control plane's answer did not arrive whole")
	case resp.StatusCode == http.StatusOK && resp.Header.Get(headerOurs) != "":
		return answer, nil
	}
	var p problem
	if resp.Header.Get(headerOurs) == "" || json.Unmarshal(answer, &p) != nil || p.Code == "" {
		return nil, fault.New(op, fault.ServiceUnavailable, "%s answered %s: is this the control plane's address?", urls[0], resp.Status)
	}
	return nil, fault.New(op, fault.Code(fault.Clean(string(p.Code))), "%s", fault.Clean(p.Message))
}
