package fleetwright_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

type stored struct{ key, value []byte }

// kindOf returns a record's type: the service and the table that its key names.
func kindOf(t *testing.T, k []byte) string {
	r := key.Read(k)
	require.NotNil(t, r)
	r.Str()
	kind := r.Str()
	if r.More() {
		rest := k[len(key.New(tenantOf(k)).Str(kind)):]
		if len(rest) > 0 && rest[0] == 2 {
			kind += "/" + r.Str()
		}
	}
	if id, ok := strings.CutPrefix(kind, "parameter/"); ok && len(id) == 17 {
		return "parameter/version" // such an id stands where others have a word
	}
	return kind
}

func tenantOf(k []byte) string { return key.Read(k).Str() }

// rare are the kinds of records that fsck knows and that the scenario does not leave, and why that is so. A kind that is found neither here nor in the store fails the test.
var rare = map[string]string{
	"blob":         "output lies in files here; blob/storeblob has its own",
	"command/todo": "it lasts from one control plane's receiving a message to the owner's commit; a record like the others, with the same codec",
}

// fullPast is a fleet's directory in which every service has left something, closed.
func fullPast(t *testing.T) (p past, execution string, z *frozen) {
	p = makePast(t)
	o := &fleetwright.Options{}
	o.Config.Heartbeat = 100 * time.Millisecond
	f, err := fleetwright.Open(t.Context(), p.dir, o)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test goes on without it
	addRunbook(t, f, "five-steps", strings.ReplaceAll(fiveStepsText, "\t", " "))
	execution = runToEnd(t, f, automation.Request{DocumentName: "five-steps"}).ID
	ctx := releaseCtx(t.Context())
	a, err := f.StartAgent(ctx, "one", nil)
	require.NoError(t, err)
	ghost, err := f.StartAgent(ctx, "ghost", nil)
	require.NoError(t, err)
	eventually(t, "the control plane knows what the nodes can do", func() bool {
		n, err := f.Nodes.Nodes(ctx, access.DefaultTenant, []string{a.ID, ghost.ID})
		return err == nil && len(n) == 2 && slices.Contains(n[0].Capabilities, "feature:ENV_VAR") && slices.Contains(n[1].Capabilities, "feature:ENV_VAR")
	})
	require.NoError(t, ghost.Stop())
	z = &frozen{Node: a.ID, Words: map[string]string{"node": a.ID, "ghost": ghost.ID, "hash": strings.Repeat("0", 32)}}
	z.write(ctx, t, f)
	for as, in := range map[string]string{"waits": ghost.ID, "sleeps": a.ID} {
		req := shell("true")
		req.InstanceIDs = []string{in}
		c, err := f.Commands.Send(ctx, req)
		require.NoError(t, err)
		z.Words[as] = c.ID
	}
	_, err = f.Commands.Wait(ctx, z.Words["sleeps"])
	require.NoError(t, err)
	lost, err := message.Marshal(message.KindReport, message.Report{Ref: message.Ref{Command: "lost-1", Attempt: 1}, Seq: 1, Detail: message.DetailInProgress})
	require.NoError(t, err)
	require.NoError(t, f.Commands.Handle(ctx, access.DefaultTenant, ghost.ID, message.Envelope{Tenant: access.DefaultTenant, From: ghost.ID, Kind: message.KindReport, Body: lost}))
	_, err = f.RotateControllerKeys(t.Context(), access.DefaultTenant, 0)
	require.NoError(t, err)
	eventually(t, "the node obeys the new keys, and it is known", func() bool { return spaces(t, fleetwright.StoreOf(f))["controller/pin"] > 0 })
	require.NoError(t, f.Audit.Flush(t.Context()))
	require.NoError(t, f.Audit.Checkpoint(t.Context()))
	return p, execution, z
}

const fiveStepsText = `
schemaVersion: "0.3"
variables: {n: {type: String, default: "0"}}
mainSteps:
- {name: one, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "1"}}
- {name: two, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "2"}}
`

// observe reads what callers can see, each by itself: its JSON, or the code of its error.
func observe(t *testing.T, f *fleetwright.Fleet, p past, execution string, z *frozen) map[string]string {
	ctx := releaseCtx(t.Context())
	out := map[string]string{}
	see := func(what string, v any, err error) {
		if err != nil {
			out[what] = "error " + string(fault.CodeOf(err))
			return
		}
		b, err := json.Marshal(v)
		out[what] = string(b)
		if err != nil {
			out[what] = err.Error()
		}
	}
	for _, id := range []string{p.small, p.large} {
		c, err := f.Commands.Get(ctx, id)
		see("command "+id, c, err)
		r, _, err := f.Commands.Invocations(ctx, command.ListRequest{Command: id})
		see("invocations "+id, r, err)
		rd, _, err := f.Commands.Output(ctx, id, p.node, "", false)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(rd)
			rd.Close() //nolint:errcheck // it was read
		}
		see("output "+id, b, err)
	}
	for _, name := range []string{"Own", "five-steps"} {
		d, err := f.Documents.GetDocument(ctx, library.GetDocumentRequest{Name: name})
		see("document "+name, d, err)
	}
	v, err := f.Parameters.GetParameter(ctx, parameter.GetParameterRequest{Name: "/db/password", WithDecryption: true})
	see("parameter", v.Parameter.Value.Reveal(), err)
	h, err := f.Parameters.GetParameterHistory(ctx, parameter.GetParameterHistoryRequest{Name: "/db/password"})
	see("history", len(h.Parameters), err)
	x, _, err := f.Automations.List(ctx, automation.Filter{}, 10, "")
	see("automations", x, err)
	e, _, err := f.Automations.Get(ctx, execution)
	see("automation", e, err)
	n, err := f.Nodes.Nodes(ctx, access.DefaultTenant, []string{p.node})
	see("node", len(n), err)
	a, _, err := f.Audit.List(ctx, audit.Filter{Action: "ssm:SendCommand"}, nil)
	see("audit", a, err)
	api := releaseAPI(f)
	for _, q := range releaseReads {
		if q.op != "SendCommand" {
			b, err := api.Call(ctx, q.op, z.fill(q.in))
			if err == nil {
				b = clean(t, b)
			}
			see(q.op+q.in, json.RawMessage(b), err)
		}
	}
	return out
}

// F6, G15, R-26: one flipped bit, or a value cut short, in a record of each type that a full scenario leaves. It is noticed and named, nothing wrong is served, and the other records stay.
func TestAFlippedRecordIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short: it damages every kind of record")
	}
	p, execution, z := fullPast(t)
	s, err := boltstore.Open(t.Context(), filepath.Join(p.dir, "store.db"), nil)
	require.NoError(t, err)
	keys, err := localkeys.Open(filepath.Join(p.dir, "keys.json"), nil)
	require.NoError(t, err)
	codec, err := fleetwright.RecordCodec(t.Context(), s, keys)
	require.NoError(t, err)
	_, err = lease.New(s, codec, lease.Config{Owner: "another control plane"}).Acquire(t.Context(), "", "another's work")
	require.NoError(t, err)
	kinds := map[string][]stored{}
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			k := kindOf(t, it.Key)
			kinds[k] = append(kinds[k], stored{bytes.Clone(it.Key), bytes.Clone(it.Value)})
		}
		return nil
	}))
	require.NoError(t, s.Close())
	var names []string
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range fleetwright.KeySpaces() {
		there := slices.ContainsFunc(names, func(n string) bool { return n == k || strings.HasPrefix(n, k+"/") })
		if why := rare[k]; why != "" {
			require.False(t, there, "records of %s are there", k)
			t.Logf("not tried: %s: %s", k, why)
		} else {
			if !there {
				t.Errorf("the scenario leaves no record of %s, and nothing says why", k)
			}
		}
	}
	for _, n := range names {
		service, _, _ := strings.Cut(n, "/")
		require.True(t, slices.ContainsFunc(fleetwright.KeySpaces(), func(k string) bool { return k == service || strings.HasPrefix(k, service+"/") }), "fsck does not know %s", n)
	}
	releases(t, func(t *testing.T, _ string, z *frozen) { // what a release had is tried too
		for k := range z.Spaces {
			if id, ok := strings.CutPrefix(k, "parameter/"); ok && len(id) == 17 {
				k = "parameter/version"
			}
			require.Contains(t, names, k)
		}
	})
	t.Logf("%d kinds of records: %s", len(names), strings.Join(names, ", "))
	rng := rand.New(rand.NewPCG(1, 6))
	n := 2000
	if testenv.Long() {
		n = testenv.Count(t, "FLEETWRIGHT_FLIPS", 50000)
	}
	open := func(kind string, k, v []byte) error {
		c := codec
		if kind == "fleetwright/mac" {
			c = nil // it holds the key of the others, and is sealed
		}
		if bytes.Equal(v, []byte{1}) && (kind == "automation/time" || kind == "automation/active") {
			return nil // a mark without a frame: its key says all
		}
		_, err := c.Open(k, v)
		return err
	}
	bad := 0
	for i := range n {
		kind := names[i%len(names)]
		r := kinds[kind][rng.IntN(len(kinds[kind]))]
		require.NoError(t, open(kind, r.key, r.value), kind)
		v := bytes.Clone(r.value)
		if i/len(names)%4 == 3 {
			v = v[:rng.IntN(len(v))]
		} else {
			v[rng.IntN(len(v))] ^= 1 << rng.IntN(8)
		}
		var corrupt *record.CorruptError
		if err := open(kind, r.key, v); !errors.As(err, &corrupt) || !bytes.Equal(corrupt.Key, r.key) {
			bad++
			t.Errorf("a damaged record of %s: %v", kind, err)
		}
	}
	testenv.Figure(t, "bits flipped and values cut in records of every type", n, bad)
	// The same through the doors that callers use: what is seen is what it was, or an error that says so.
	times := 1
	if testenv.Long() {
		times = 6
	}
	orig, err := os.ReadFile(filepath.Join(p.dir, "store.db"))
	require.NoError(t, err)
	look := func() map[string]string {
		f, err := fleetwright.Inspect(t.Context(), p.dir, nil)
		if err != nil {
			return map[string]string{"open": "error " + string(fault.CodeOf(err))}
		}
		defer f.Close() //nolint:errcheck // it was only read
		out := observe(t, f, p, execution, z)
		rep, err := f.Fsck(t.Context(), nil)
		require.NoError(t, err)
		for _, pr := range rep.Problems {
			out["fsck"] += pr.Kind + " "
		}
		return out
	}
	want := look()
	require.Empty(t, want["fsck"])
	tried, wrong := 0, 0
	for _, kind := range names {
		for range times {
			r := kinds[kind][rng.IntN(len(kinds[kind]))]
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "store.db"), orig, 0o600))
			s, err := boltstore.Open(t.Context(), filepath.Join(p.dir, "store.db"), nil)
			require.NoError(t, err)
			v := bytes.Clone(r.value)
			v[rng.IntN(len(v))] ^= 1 << rng.IntN(8)
			require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error { return tx.Put(r.key, v) }))
			require.NoError(t, s.Close())
			got := look()
			tried++
			if code := got["open"]; code != "" {
				if code != "error "+string(fault.DataCorrupt) {
					wrong++
					t.Errorf("%s: the fleet opens with %s", kind, code)
				}
				continue
			}
			if !strings.Contains(got["fsck"], "corrupt") {
				wrong++
				t.Errorf("%s: fsck says %q", kind, got["fsck"])
			}
			same := 0
			for what, is := range want {
				switch {
				case got[what] == is:
					same++
				case what == "fsck", got[what] == "error "+string(fault.DataCorrupt):
				default:
					wrong++
					t.Errorf("%s: %s is %.300s and was %.300s", kind, what, got[what], is)
				}
			}
			if same == 0 {
				wrong++
				t.Errorf("%s: one bad record stops everything", kind)
			}
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "store.db"), orig, 0o600))
	testenv.Figure(t, "damaged records seen through a whole control plane", tried, wrong)
}

// The key file: whatever bit of it is flipped, wherever it ends, it is refused and named.
func TestAFlippedKeyFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keys, err := localkeys.Create(file, nil)
	require.NoError(t, err)
	_, err = keys.Rotate(t.Context())
	require.NoError(t, err)
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	n, bad := 0, 0
	try := func(b []byte, what string) {
		n++
		require.NoError(t, os.WriteFile(file, b, 0o600))
		if _, err := localkeys.Open(file, nil); err == nil {
			bad++
			t.Errorf("%s opens", what)
		}
	}
	step := 7
	if testenv.Long() {
		step = 1
	}
	for bit := 0; bit < 8*len(good); bit += step {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		try(b, fmt.Sprint("bit ", bit))
	}
	for cut := range good {
		try(good[:cut], fmt.Sprint("cut at ", cut))
	}
	testenv.Figure(t, "bits flipped and bytes cut off in a key file", n, bad)
}
