package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
)

func TestHeads(t *testing.T) { // R25, R26, T23
	for _, c := range []struct {
		in    string
		limit int
		more  bool
		want  string
		exact bool
	}{
		{"abc", 3, false, "abc", true}, // exactly the limit loses nothing
		{"abcd", 3, false, "abc", true},
		{"aäb", 2, false, "a", true},
		{"aä", 3, false, "aä", true},
		{"a\xc3", 10, true, "a", true},         // the rest comes later
		{"a\xc3", 10, false, "a\ufffd", false}, // there is no rest
		{"a\xffb", 10, false, "a\ufffdb", false},
		{"\xff\xff", 3, false, "\ufffd", false},
		{"", 3, false, "", true},
		{"€", 2, false, "", true},
	} {
		got, exact := head([]byte(c.in), c.limit, c.more)
		require.Equal(t, c.want, got, "%q", c.in)
		require.Equal(t, c.exact, exact, "%q", c.in)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "b")
		limit := rapid.IntRange(0, 40).Draw(t, "limit")
		got, exact := head(b, limit, false)
		switch {
		case !utf8.ValidString(got) || len(got) > limit:
			t.Fatalf("%q is no head of at most %d bytes", got, limit)
		case exact && !bytes.HasPrefix(b, []byte(got)):
			t.Fatalf("%q is not what %q begins with", got, b)
		case utf8.Valid(b) && (!exact || len(got) < min(len(b), limit-utf8.UTFMax+1)):
			t.Fatalf("%q is too short a head of %q", got, b)
		}
	})
}

func TestSpoolsKeepWhatFits(t *testing.T) { // F11
	dir, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	roomy := true
	s, err := openSpool(dir, 3, 1, 10, func() bool { return roomy }, nil)
	require.NoError(t, err)
	for _, w := range []string{"0123", "4567", "89ab", "cd"} {
		n, err := s.Write([]byte(w))
		require.NoError(t, err)
		require.Equal(t, len(w), n, "a step never sees its output refused")
	}
	o, changed := s.state()
	require.Equal(t, Output{Head: []byte("0123456789"), Size: 10, Dropped: 4}, o)
	require.True(t, changed)
	_, changed = s.state()
	require.False(t, changed)
	require.NoError(t, s.close())
	require.Equal(t, Output{Head: []byte("0123456789"), Size: 10}, spooled(dir, 3, 1))
	require.Equal(t, Output{}, spooled(dir, 4, 1))
	b, err := piece(dir, 3, 1, 4, 3)
	require.NoError(t, err)
	require.Equal(t, "456", string(b))
	_, err = piece(dir, 3, 1, 8, 3)
	require.Error(t, err, "a piece that is not there whole is none")

	// After a reboot the same step goes on writing.
	s, err = openSpool(dir, 3, 1, 12, nil, nil)
	require.NoError(t, err)
	s.Write([]byte("xyz"))
	o, _ = s.state()
	require.Equal(t, "0123456789xy", string(o.Head))
	require.NoError(t, s.close())

	// A full disk.
	s, err = openSpool(dir, 5, 0, 1<<40, func() bool { return roomy }, nil)
	require.NoError(t, err)
	roomy = false
	big := make([]byte, 1<<20)
	for range 3 {
		s.Write(big)
	}
	o, _ = s.state()
	require.Equal(t, int64(1<<20), o.Size)
	require.Equal(t, int64(2<<20), o.Dropped)
	require.NoError(t, s.close())
}

func TestTheClockNeverPromisesTooMuch(t *testing.T) { // F9
	rapid.Check(t, func(t *rapid.T) {
		var c clock
		plane, skew := dawn, time.Duration(rapid.Int64Range(-1e18, 1e18).Draw(t, "skew"))
		local := func() time.Time { return plane.Add(skew) }
		type ask struct{ sent time.Time }
		var out []ask
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			plane = plane.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "passes")))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				out = append(out, ask{local()})
			case 1: // an answer whose time was taken some time between
				if len(out) > 0 {
					between := rapid.Int64Range(0, int64(local().Sub(out[0].sent))).Draw(t, "between")
					c.welcome(local(), out[0].sent, plane.Add(-time.Duration(between)))
					out = out[1:]
				}
			case 2:
				if c.synced {
					c.atLeast(local(), plane.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "age"))))
				}
			}
			if c.synced && (c.earliest(local()).After(plane) || c.latest(local()).Before(plane)) {
				t.Fatalf("%v is not within %v and %v", plane, c.earliest(local()), c.latest(local()))
			}
		}
	})
}

func TestReportsFitIntoMessages(t *testing.T) {
	cfg := EngineConfig{Node: "mi-1", Session: "s"}
	e := NewEngine(cfg, nil)
	c := &command{Entry: Entry{Ref: message.Ref{Command: "c", Attempt: 1}, Detail: message.DetailInProgress}, running: -1}
	for i := range 60 {
		c.Steps = append(c.Steps, StepEntry{StepReport: message.StepReport{Name: "step", Status: message.Success}})
		c.grow(i, Output{Head: bytes.Repeat([]byte{1}, HeadStdout), Size: HeadStdout}, Output{Head: bytes.Repeat([]byte("e"), HeadStderr), Size: HeadStderr})
	}
	r := e.fit(c)
	b, err := message.Marshal(message.KindReport, r)
	require.NoError(t, err)
	require.LessOrEqual(t, len(b), maxReport)
	for i := range r.Steps {
		for _, s := range []message.Stream{r.Steps[i].Stdout, r.Steps[i].Stderr} {
			require.True(t, s.InPieces || int64(len(s.Head)) == s.Size, "what is not in the head travels in pieces")
		}
	}
	require.NotEmpty(t, c.streams)
}

// registrar is a control plane that knows one activation code, forgets nothing, and loses answers.
type registrar struct {
	controller *message.Identity
	nodes      map[string]message.RegisterResponse
	requests   []message.RegisterRequest
	lose       int
	fail       error
}

func (r *registrar) Register(_ context.Context, q message.RegisterRequest) (message.RegisterResponse, error) {
	r.requests = append(r.requests, q)
	if r.fail != nil {
		return message.RegisterResponse{}, r.fail
	}
	if q.ActivationCode != "code" {
		return message.RegisterResponse{}, fault.New("test", fault.InvalidActivation, "wrong code")
	}
	a, ok := r.nodes[q.Token]
	if !ok {
		p := r.controller.Public()
		a = message.RegisterResponse{Tenant: "default", Node: "mi-" + strings.Repeat("0", 16) + string(rune('0'+len(r.nodes))), SignKey: p.SignKey, SealKey: p.SealKey, Epoch: 4}
		r.nodes[q.Token] = a
	}
	if r.lose > 0 {
		r.lose--
		return message.RegisterResponse{}, fault.New("test", fault.ServiceUnavailable, "the answer was lost")
	}
	return a, nil
}

func newRegistrar(t *testing.T) *registrar {
	id, err := message.NewIdentity("default", message.Controller, nil)
	require.NoError(t, err)
	return &registrar{controller: id, nodes: map[string]message.RegisterResponse{}}
}

func TestRegister(t *testing.T) {
	r := newRegistrar(t)
	dir := filepath.Join(t.TempDir(), "state")
	_, err := Load(dir)
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
	_, err = Register(t.Context(), r, dir, "act", secret.String("wrong"), nil)
	require.Equal(t, fault.InvalidActivation, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "wrong\"")

	// The answer is lost, the agent dies, starts again: still one node.
	r.lose = 1
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Register(ctx, r, dir, "act", secret.String("code"), nil)
	require.Error(t, err)
	r.lose = 2
	n, err := Register(t.Context(), r, dir, "act", secret.String("code"), &RegisterOptions{Retry: time.Millisecond})
	require.NoError(t, err)
	require.Len(t, r.nodes, 1)
	require.Equal(t, "mi-00000000000000000", n.ID)
	require.Equal(t, uint64(4), n.Epoch)
	for _, q := range r.requests {
		require.Equal(t, r.requests[0].Token, q.Token)
		require.Equal(t, r.requests[0].SignKey, q.SignKey)
	}
	asked := len(r.requests)
	again, err := Register(t.Context(), r, dir, "act", secret.String("code"), nil)
	require.NoError(t, err)
	require.Len(t, r.requests, asked, "a registered node asks nobody")
	require.Equal(t, n.Identity().Public(), again.Identity().Public())
	require.Equal(t, r.requests[0].SignKey, n.Identity().Public().SignKey)

	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range names {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
		require.NotEqual(t, pendingFile, e.Name())
	}

	// A damaged file is an error, not a new registration.
	require.NoError(t, os.WriteFile(filepath.Join(dir, nodeFile), []byte("{}"), 0o600))
	_, err = Register(t.Context(), r, dir, "act", secret.String("code"), nil)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
}

func TestRegisterChecksWhoAnswers(t *testing.T) { // T-WRONGKEY
	r, other := newRegistrar(t), newRegistrar(t)
	_, err := Register(t.Context(), r, t.TempDir(), "act", secret.String("code"), &RegisterOptions{Controller: other.controller.Public()})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = Register(t.Context(), r, t.TempDir(), "act", secret.String("code"), &RegisterOptions{Controller: r.controller.Public()})
	require.NoError(t, err)
	bad := RegistrarFunc(func(context.Context, message.RegisterRequest) (message.RegisterResponse, error) {
		return message.RegisterResponse{Tenant: "default", Node: "../x", SignKey: make([]byte, 32), SealKey: make([]byte, 32)}, nil
	})
	_, err = Register(t.Context(), bad, t.TempDir(), "act", secret.String("code"), nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestRegisterOver(t *testing.T) {
	r := newRegistrar(t)
	reg := RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) {
		var q message.RegisterRequest
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		a, err := r.Register(ctx, q)
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	})
	n, err := Register(t.Context(), reg, t.TempDir(), "act", secret.String("code"), nil)
	require.NoError(t, err)
	require.Equal(t, "default", n.Tenant)
	_, err = RegisterOver(func(context.Context, []byte) ([]byte, error) { return []byte("x"), nil }).Register(t.Context(), message.RegisterRequest{})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	_, err = RegisterOver(func(context.Context, []byte) ([]byte, error) { return nil, errors.New("x") }).Register(t.Context(), message.RegisterRequest{})
	require.Error(t, err)
}

// BenchmarkEngine takes a command from its run to its tombstone. The ratio is to reading its document alone, which nobody is spared.
func BenchmarkEngine(b *testing.B) {
	s := newStory(b)
	s.docs["d"] = "schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runShellScript, name: s, inputs: {runCommand: [x]}}\n"
	for _, line := range []string{"boot b1", "connect", "welcome"} {
		s.line(strings.Fields(line))
	}
	doc := []byte(s.docs["d"])
	sum := sha256.Sum256(doc)
	pack := func(kind message.Kind, body any) message.Envelope {
		m, err := message.Marshal(kind, body)
		require.NoError(b, err)
		return message.Envelope{Tenant: "default", From: message.Controller, To: "mi-1", Kind: kind, ID: "x", Attempt: 1, Epoch: 1, NotBefore: s.now, NotAfter: s.now.Add(time.Minute), Body: m}
	}
	var read, all time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ref := message.Ref{Command: strconv.Itoa(i), Attempt: 1}
		run := message.Run{Ref: ref, Document: doc, DocumentHash: hex.EncodeToString(sum[:]), Format: "YAML", ExpiresAt: s.now.Add(time.Second)}
		begin := time.Now()
		_, err := makePlan(&run, "Linux", s.engine.cfg.Actions)
		read += time.Since(begin)
		require.NoError(b, err)
		events := []Event{Received{pack(message.KindRun, run)}, StepEnded{Ref: ref, Result: action.Succeeded()}, Received{pack(message.KindAck, message.Ack{Ref: ref, Seq: 4, Final: true})}}
		begin = time.Now()
		for _, ev := range events {
			s.engine.Step(s.now, ev)
		}
		all += time.Since(begin)
		s.now = s.now.Add(time.Second)
	}
	b.ReportMetric(float64(all)/float64(read), "ratio")
}
