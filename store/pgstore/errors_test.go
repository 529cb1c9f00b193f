package pgstore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

func TestWhatTheServersAnswersMean(t *testing.T) {
	pg := func(severity, code string) error {
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{SeverityUnlocalized: severity, Code: code})
	}
	for _, k := range []struct {
		err     error
		refused bool // certainly not committed
		lasting error
	}{
		{io.ErrUnexpectedEOF, false, nil},
		{pg("ERROR", "40001"), true, nil},
		{pg("ERROR", "55P03"), true, nil},
		{pg("ERROR", "22012"), true, nil},
		{pg("FATAL", "57P01"), false, nil},
		{pg("PANIC", "58030"), false, nil},
		{pg("FATAL", "53300"), false, nil},
		{pg("ERROR", "25006"), true, store.ErrReadOnly},
		{pg("ERROR", "53100"), true, store.ErrReadOnly},
	} {
		require.Equal(t, k.refused, refused(k.err), "%v", k.err)
		require.ErrorIs(t, lasting(k.err), k.lasting, "%v", k.err)
	}
	for _, dead := range []error{pg("FATAL", "57P01"), io.EOF, io.ErrUnexpectedEOF, &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, &net.OpError{Op: "read", Err: syscall.ECONNRESET}} {
		require.True(t, lost(fmt.Errorf("wrapped: %w", dead)), "%v", dead)
	}
	require.False(t, lost(pg("ERROR", "42501")))
	require.False(t, lost(errors.New("no such host")))
	require.Error(t, lasting(pg("ERROR", "42P01")))
	require.Error(t, lasting(pg("ERROR", "XX001")))
	require.ErrorIs(t, unavailable(pg("ERROR", "55P03")), store.ErrConflict)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(unavailable(io.EOF)))
	require.True(t, errors.Is(unavailable(io.EOF), io.EOF))
}
