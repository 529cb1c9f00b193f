package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Codes of PostgreSQL, https://www.postgresql.org/docs/15/errcodes-appendix.html.
const (
	codeDivisionByZero = "22012" // raised by the mark of a commit whose number is not the expected one
	codeReadOnly       = "25006"
	codeUndefinedTable = "42P01"
	codeInvalidSchema  = "3F000"
	codeLockTimeout    = "55P03"
)

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// undefined says whether a table or the schema is missing.
func undefined(err error) bool {
	c := code(err)
	return c == codeUndefinedTable || c == codeInvalidSchema
}

// refused says whether the server itself answered that the statement failed, so that its transaction is certainly undone. An end of the session (FATAL)
// is no such answer: it may come after the commit.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.SeverityUnlocalized == "ERROR"
}

// lost says whether an established connection was found dead.
func lost(err error) bool {
	return strings.HasPrefix(code(err), "57P") || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// lasting returns the error of package store for a failure that trying again at once does not cure, else nil.
func lasting(err error) error {
	c := code(err)
	switch {
	case errors.Is(err, store.ErrReadOnly), c == codeReadOnly, len(c) == 5 && c[:2] == "53" && c != "53300": // 53300: too many connections
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	case undefined(err), c == "42501": // no privilege
		return fmt.Errorf("pgstore: the store's tables cannot be used; were they dropped, or rights taken away? %w", err)
	case len(c) == 5 && (c[:2] == "22" && c != codeDivisionByZero || c[:2] == "XX"): // the server found bad data
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

// unavailable is what an Update or a View gets that could not be carried out in time. Nothing was written.
func unavailable(err error) error {
	if code(err) == codeLockTimeout {
		return fmt.Errorf("%w: another control plane holds the store: %w", store.ErrConflict, err)
	}
	return &UnavailableError{err}
}

// UnavailableError says that the database could not be reached, or did not answer, for as long as Options allow. Nothing was written.
type UnavailableError struct{ Err error }

// Error returns what happened.
func (e *UnavailableError) Error() string {
	return "pgstore: the database is not available, nothing was written: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// FaultCode returns the code that package fault finds.
func (e *UnavailableError) FaultCode() fault.Code { return fault.ServiceUnavailable }

func tooLong(limit time.Duration) error {
	return fmt.Errorf("%w: the limit is %v; page through long lists, keep waiting out of transactions", store.ErrTooLong, limit)
}

var (
	errDead    = fmt.Errorf("%w: the transaction's function has returned", store.ErrClosed)
	errNothing = errors.New("pgstore: the database did not answer a scan")
	errClosed  = fmt.Errorf("%w: the store's owner closed it", store.ErrClosed)
)

// grace is how much longer a statement may take than its caller waits, before its connection is given up.
const grace = 250 * time.Millisecond

// lenient returns a context that ends a little after each of those given, and at the latest at until: a statement that is nearly done should not cost a connection.
func lenient(until time.Time, of ...context.Context) (context.Context, func()) {
	ctx, cancel := context.WithDeadline(context.Background(), until.Add(grace))
	var stops []func() bool
	for _, c := range of {
		if c != nil && c.Done() != nil {
			stops = append(stops, context.AfterFunc(c, func() { time.AfterFunc(grace, cancel) }))
		}
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
