package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

var signKey = ed25519.NewKeyFromSeed(make([]byte, 32))

func sign(msg []byte) ([]byte, error) { return ed25519.Sign(signKey, msg), nil }

func verifySig(_ string, msg, sig []byte) error {
	if !ed25519.Verify(signKey.Public().(ed25519.PublicKey), msg, sig) {
		return errors.New("bad signature")
	}
	return nil
}

func newLog(s store.Store, writer string, change func(*Config)) *Log {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	cfg := Config{Store: s, Writer: writer, Signer: sign, Verifier: verifySig, Segment: 5, Authorize: access.AllowAll{},
		Now: func() time.Time { at = at.Add(time.Second); return at }}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

func as(tenant, name string) context.Context {
	return access.With(context.Background(), access.Principal{Tenant: tenant, Name: name})
}

func record1(t testing.TB, l *Log, ctx context.Context, e Entry) {
	t.Helper()
	require.NoError(t, l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return l.Record(ctx, tx, e) }))
}

func write(t testing.TB, l *Log, tenant string, n int) {
	t.Helper()
	for i := range n {
		record1(t, l, as(tenant, "alice"), Entry{Action: "ssm:SendCommand", Resource: fmt.Sprint("document/", i), IDs: map[string]string{"command": fmt.Sprint(i)}})
	}
}

func TestAnEntryIsThereExactlyIfTheEffectIs(t *testing.T) {
	s := memstore.New()
	l := newLog(s, "w", nil)
	ctx := as("t", "alice")
	err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		require.NoError(t, l.Record(ctx, tx, Entry{Action: "ssm:SendCommand"}))
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	got, _, err := l.List(ctx, Filter{}, nil)
	require.NoError(t, err)
	require.Empty(t, got)

	record1(t, l, ctx, Of("ssm:SendCommand", "document/x", nil))
	got, next, err := l.List(ctx, Filter{}, nil)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, got, 1)
	e := got[0]
	require.Equal(t, "t", e.Tenant)
	require.Equal(t, "alice", e.Principal)
	require.Equal(t, Success, e.Outcome)
	require.Equal(t, "w", e.Writer)
	require.False(t, e.Time.IsZero())

	other, _, err := l.List(as("u", "bob"), Filter{}, nil)
	require.NoError(t, err)
	require.Empty(t, other, "another tenant sees nothing")
	_, _, err = New(Config{Store: s}).List(ctx, Filter{}, nil)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err), "without an authorizer nobody may list")
}

func TestOutcomeFollowsTheCode(t *testing.T) {
	require.Equal(t, fault.AccessDenied, Of("a", "r", fault.New("x", fault.AccessDenied, "no")).Code)
	l := newLog(memstore.New(), "w", nil)
	for code, want := range map[fault.Code]Outcome{"": Success, fault.AccessDenied: Denied, fault.Unauthorized: Denied, fault.InvalidDocument: Failed} {
		require.Equal(t, want, l.fill(context.Background(), Entry{Code: code}).Outcome)
	}
}

// no caller can make its call unrecorded or the record unreadable by what it sends.
func TestR20_FieldsAreCutAndCleaned(t *testing.T) {
	l := newLog(memstore.New(), "w", nil)
	long := strings.Repeat("é", MaxField)
	ids := map[string]string{"bad\x00key": "v\x1b[2J"}
	for i := range MaxIDs + 10 {
		ids[fmt.Sprintf("z%03d", i)] = long
	}
	record1(t, l, as("t", long), Entry{Action: long, Resource: "a\x1b]0;x\x07", Digest: long, IDs: ids, Code: fault.Code(long)})
	got, _, err := l.List(as("t", "x"), Filter{}, nil)
	require.NoError(t, err)
	e := got[0]
	for _, f := range []string{e.Principal, e.Action, e.Digest, string(e.Code), e.IDs["z001"]} {
		require.LessOrEqual(t, len(f), MaxField)
		require.True(t, strings.HasSuffix(f, "…"))
	}
	require.Len(t, e.IDs, MaxIDs)
	require.Equal(t, `a\x1b]0;x\x07`, e.Resource)
	require.Equal(t, `v\x1b[2J`, e.IDs[`bad\x00key`])
}

func TestDigestTellsEqualRequestsApartAndHidesSecrets(t *testing.T) {
	l, m := newLog(memstore.New(), "w", nil), newLog(memstore.New(), "w", nil)
	type req struct {
		A string
		B secret.Value
	}
	d := l.Digest(req{"x", secret.String("hunter2")})
	require.Len(t, d, 64)
	require.Equal(t, d, l.Digest(req{"x", secret.String("other")}), "a secret does not enter it")
	require.NotEqual(t, d, l.Digest(req{A: "y"}))
	require.NotEqual(t, d, m.Digest(req{A: "x"}), "without a key a stranger cannot guess")
	key := secret.New(make([]byte, 32))
	k1, k2 := newLog(memstore.New(), "a", func(c *Config) { c.DigestKey = key }), newLog(memstore.New(), "b", func(c *Config) { c.DigestKey = key })
	require.Equal(t, k1.Digest(1), k2.Digest(1))
	require.Empty(t, l.Digest(func() {}))
}

func TestANilLogRecordsNothing(t *testing.T) {
	var l *Log
	require.NoError(t, l.Record(context.Background(), nil, Entry{}))
	require.NoError(t, l.Read(context.Background(), Entry{}))
	require.NoError(t, l.ReadDurable(context.Background(), Entry{}))
	require.NoError(t, l.Flush(context.Background()))
	require.NoError(t, l.Checkpoint(context.Background()))
	require.NoError(t, l.Trim(context.Background(), time.Now()))
	require.Empty(t, l.Digest(1))
}

func count(t testing.TB, l *Log, tenant string) int {
	t.Helper()
	rep, err := l.Verify(context.Background(), &VerifyOptions{Tenant: tenant})
	require.NoError(t, err)
	return rep.Entries
}

func TestReadsAreFlushedEverySecondAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		l := New(Config{Store: s, Signer: sign, Verifier: verifySig})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		for _, tenant := range []string{"t", "t", "u"} {
			require.NoError(t, l.Read(as(tenant, "x"), Entry{Action: "ssm:GetParameter"}))
		}
		synctest.Wait()
		require.Equal(t, 0, count(t, l, ""))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, count(t, l, "t"))
		require.Equal(t, 1, count(t, l, "u"))
		time.Sleep(time.Minute)
		synctest.Wait()
		rep, err := l.Verify(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, Report{Chains: 2, Entries: 3, Checkpoints: 2}, rep, "signed within a minute")
		require.NoError(t, l.Read(as("t", "x"), Entry{Action: "ssm:GetParameter"}))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		rep, err = l.Verify(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, Report{Chains: 2, Entries: 4, Checkpoints: 3}, rep, "stopping in order loses nothing")
	})
}

func TestDurableReadsAndAFullBufferAreStoredAtOnce(t *testing.T) {
	l := newLog(memstore.New(), "w", func(c *Config) { c.Durable = true })
	require.NoError(t, l.Read(as("t", "x"), Entry{Action: "a"}))
	require.Equal(t, 1, count(t, l, ""))
	l = newLog(memstore.New(), "w", func(c *Config) { c.Buffer = 3 })
	for range 2 {
		require.NoError(t, l.Read(as("t", "x"), Entry{Action: "a"}))
	}
	require.Equal(t, 0, count(t, l, ""))
	require.NoError(t, l.Read(as("t", "x"), Entry{Action: "a"}))
	require.Equal(t, 3, count(t, l, ""))
}

// failing refuses Updates while full.
type failing struct {
	store.Store
	full bool
}

func (f *failing) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if f.full {
		return store.ErrReadOnly
	}
	return f.Store.Update(ctx, fn)
}

func TestAStoreThatTakesNothingKeepsTheNewestReadsAndCountsTheRest(t *testing.T) {
	s := &failing{Store: memstore.New(), full: true}
	l := newLog(s, "w", func(c *Config) { c.Buffer = 3 })
	var failed int
	for i := range 10 {
		if err := l.Read(as("t", "x"), Entry{Action: fmt.Sprint("a", i)}); err != nil {
			require.ErrorIs(t, err, store.ErrReadOnly)
			failed++
		}
	}
	require.NotZero(t, failed, "who fills the buffer is told")
	s.full = false
	require.NoError(t, l.Flush(context.Background()))
	got, _, err := l.List(as("t", "x"), Filter{}, nil)
	require.NoError(t, err)
	require.Equal(t, "a9", got[0].Action)
	last := got[len(got)-1]
	require.Equal(t, ActionDropped, last.Action)
	require.Equal(t, "7", last.IDs["count"])
	require.Len(t, got, 4)
}

func TestListMergesWritersFiltersAndPages(t *testing.T) {
	s := memstore.New()
	a := newLog(s, "a", nil)
	b := newLog(s, "b", func(c *Config) { now := a.cfg.Now; c.Now = now })
	for i := range 300 {
		l := a
		if i%3 == 0 {
			l = b
		}
		record1(t, l, as("t", fmt.Sprint("p", i%2)), Entry{Action: "act", Resource: fmt.Sprint(i), IDs: map[string]string{"command": fmt.Sprint(i)}})
	}
	var all []Entry
	page := &Page{MaxResults: 7}
	for {
		got, next, err := a.List(as("t", "x"), Filter{}, page)
		require.NoError(t, err)
		all = append(all, got...)
		if next == "" {
			break
		}
		page.NextToken = next
	}
	require.Len(t, all, 300)
	for i, e := range all {
		require.Equal(t, fmt.Sprint(299-i), e.Resource)
	}
	got, _, err := a.List(as("t", "x"), Filter{Principal: "p1", After: all[20].Time, Before: all[10].Time, Outcome: Success, Action: "act"}, nil)
	require.NoError(t, err)
	require.Len(t, got, 5)
	got, _, err = a.List(as("t", "x"), Filter{ID: "17"}, nil)
	require.NoError(t, err)
	require.Equal(t, "17", got[0].Resource)

	_, _, err = a.List(as("t", "x"), Filter{Action: "other"}, page)
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), "a token belongs to its filter")
	for _, bad := range []string{"x", "!!", "e30"} {
		_, _, err = a.List(as("t", "x"), Filter{}, &Page{NextToken: bad})
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
	}
	for _, n := range []int{-1, 1001} {
		_, _, err = a.List(as("t", "x"), Filter{}, &Page{MaxResults: n})
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
	got, _, err = a.List(as("u", "x"), Filter{}, page)
	require.NoError(t, err)
	require.Empty(t, got, "a token opens no other tenant")
}
