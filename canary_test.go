package fleetwright_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob/dirblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/fleettest"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// canary is a secret that is looked for: words that encodings change around a core that none of the escapes does.
type canary struct{ core, text string }

func newCanary(n int) canary {
	sum := sha256.Sum256(fmt.Appendf(nil, "canary %d", n))
	core := "cn" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15])
	return canary{core, "p<&'\"\\ü\n%" + core + "/+=$`\t>"}
}

// forms are the ways in which a text may be written down. Those of base64 are the letters that stay the same whatever stands around the text.
func forms(s string) map[string]string {
	b := []byte(s)
	out := map[string]string{"raw": s, "hex": hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)), "query": url.QueryEscape(s), "path": url.PathEscape(s)}
	for i, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			e := enc.EncodeToString(append(make([]byte, before), b...))
			skip, tail := (before*8+5)/6, 0
			if (before+len(b))%3 != 0 {
				tail = 1
			}
			out[fmt.Sprintf("base64 %d, %d before", i, before)] = e[skip : len(e)-tail]
		}
	}
	j, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	out["JSON"] = string(j[1 : len(j)-1])
	jj, err := json.Marshal(string(j))
	if err != nil {
		panic(err)
	}
	out["JSON in JSON"] = string(jj[3 : len(jj)-3])
	plain := &bytes.Buffer{}
	e := json.NewEncoder(plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	out["JSON for people"] = strings.Trim(plain.String(), "\"\n")
	q := strconv.Quote(s)
	out["Go"] = q[1 : len(q)-1]
	q = strconv.QuoteToASCII(s)
	out["ASCII"] = q[1 : len(q)-1]
	out["decimal"] = strings.Trim(fmt.Sprint(b), "[]")
	g := fmt.Sprintf("%#v", b)
	out["Go bytes"] = g[len("[]byte{") : len(g)-1]
	for name, f := range map[string]string{"percent": "%%%02x", "PERCENT": "%%%02X", "octets": `\x%02x`} {
		var all strings.Builder
		for _, c := range b {
			fmt.Fprintf(&all, f, c)
		}
		out[name] = all.String()
	}
	return out
}

// finder looks for many texts in one pass, by their first eight bytes.
type finder struct {
	begins  [1 << 16]bool // by their first two
	needles map[uint64][]needle
	count   int
}

type needle struct {
	text string
	form string
	of   canary
}

func newFinder(cs []canary) *finder {
	f := &finder{needles: map[uint64][]needle{}}
	for _, c := range cs {
		for part, s := range map[string]string{"core": c.core, "text": c.text} {
			for form, text := range forms(s) {
				k := binary.LittleEndian.Uint64([]byte(text[:8]))
				f.begins[uint16(k)] = true
				f.needles[k] = append(f.needles[k], needle{text, part + " " + form, c})
				f.count++
			}
		}
	}
	return f
}

// find returns what is there of the canaries: canary and form.
func (f *finder) find(hay []byte) map[canary][]string {
	out := map[canary][]string{}
	for i := 0; i+8 <= len(hay); i++ {
		if !f.begins[uint16(hay[i])|uint16(hay[i+1])<<8] {
			continue
		}
		for _, n := range f.needles[binary.LittleEndian.Uint64(hay[i:])] {
			if len(hay)-i >= len(n.text) && string(hay[i:i+len(n.text)]) == n.text && !slices.Contains(out[n.of], n.form) {
				out[n.of] = append(out[n.of], n.form)
			}
		}
	}
	return out
}

func TestTheSearchForCanariesBites(t *testing.T) {
	c, other := newCanary(1), newCanary(2)
	f := newFinder([]canary{c, other})
	for form, text := range forms(c.text) {
		for pad := range 9 {
			got := f.find(append(bytes.Repeat([]byte{'x'}, pad), text+"yy"...))
			require.Contains(t, got, c, form)
			require.NotContains(t, got, other)
			require.Contains(t, got[c], "text "+form)
		}
	}
	// Whole encodings, whatever stands around the secret, and a secret that was cut.
	for pad := range 7 {
		around := strings.Repeat("a", pad) + c.text + strings.Repeat("b", 7-pad)
		for _, whole := range []string{base64.StdEncoding.EncodeToString([]byte(around)), base64.URLEncoding.EncodeToString([]byte(around)), base64.RawStdEncoding.EncodeToString([]byte(around)),
			hex.EncodeToString([]byte(around)), fmt.Sprintf("%X", around), url.QueryEscape(around), fmt.Sprintf("%q", around), fmt.Sprintf("%+q", around), fmt.Sprintf("%#v", []byte(around)), fmt.Sprint([]byte(around)),
			strings.SplitAfter(around, c.core)[0]} {
			require.Contains(t, f.find([]byte(whole)), c, whole)
		}
	}
	require.Empty(t, f.find([]byte(newCanary(3).text)))
}

// ink is a writer that many write to.
type ink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *ink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// say writes a value down in every way that formatters have.
func (s *ink) say(x ...any) {
	for _, v := range x {
		fmt.Fprintf(s, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
		if b, err := json.Marshal(v); err == nil {
			s.Write(b) //nolint:errcheck // it never fails
		}
		slog.New(slog.NewJSONHandler(s, nil)).Info("said", "value", v)
		slog.New(slog.NewTextHandler(s, nil)).Info("said", "value", v)
		if err, ok := v.(error); ok {
			for ; err != nil; err = errors.Unwrap(err) {
				fmt.Fprintf(s, "%v %#v\n", err, err)
			}
		}
	}
}

// flaky is a key service that can be away.
type flaky struct {
	seal.Wrapper
	away atomic.Bool
}

func (f *flaky) WrapKey(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
	if f.away.Load() {
		return seal.Wrapped{}, errors.New("the key service is away")
	}
	return f.Wrapper.WrapKey(ctx, id, key, aad)
}

// fences denies what lies below /denied.
type fences struct{}

func (fences) Authorize(_ context.Context, _ access.Principal, _, resource string, _ map[string]string) error {
	if strings.HasPrefix(resource, "parameter/denied") {
		return fault.New("test", fault.AccessDenied, "it is fenced off")
	}
	return nil
}

// R-13, G12, over the whole of a fleet: 200 secrets go over the wire into Parameter Store, in every outcome, and are looked for in everything that the fleet keeps or says.
func TestR13_CanariesAreNowhereInAFleet(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 40
	}
	dir := t.TempDir()
	logs, said := &ink{}, &ink{}
	db, err := boltstore.Open(t.Context(), filepath.Join(dir, "store.db"), nil)
	require.NoError(t, err)
	blobs, err := dirblob.Open(filepath.Join(dir, "blobs"), nil)
	require.NoError(t, err)
	file, err := localkeys.Create(filepath.Join(dir, "keys.json"), nil)
	require.NoError(t, err)
	keys := &flaky{Wrapper: file}
	logger := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	closed := false
	fleet := fleettest.NewWith(t, 1, fleettest.Options{Config: fleetwright.Config{Store: db, Blobs: blobs, Keys: keys, Authorizer: fences{}, Exclusive: true, Log: logger,
		ParameterStore: parameter.Config{DataTypes: map[string]parameter.DataType{
			// Validators that tell what they should not.
			"own:picky": {Check: func(_ context.Context, name string, v parameter.Value) error {
				return fmt.Errorf("%s is %s, which will not do", name, v.Reveal())
			}},
			"own:panics": {Check: func(_ context.Context, name string, v parameter.Value) error {
				panic(name + v.Reveal())
			}},
		}}}})
	var scripts ink
	fleet.Script = func(_, script string) (string, int) { scripts.say(script); return script, 0 }
	t.Cleanup(func() { // before fleettest ends the fleet the store must be open
		if !closed {
			db.Close() //nolint:errcheck // the test failed already
		}
	})

	// The wire: everything that is answered, but for reads that are to decrypt, is kept.
	api := ssmops.New(ssmops.Services{Commands: fleet.Commands, Nodes: fleet.Nodes, Documents: fleet.Documents, Parameters: fleet.Parameters, Audit: fleet.Audit}, &ssmops.Options{Log: logger})
	face := api.Handler(ssmops.AuthenticatorFunc(func(*http.Request) (access.Principal, error) { return access.Principal{Name: "ann"}, nil }), nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(in))
		if !bytes.Contains(in, []byte(`"WithDecryption":true`)) {
			w = &kept{w, said}
		}
		face.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(logs, "", 0)
	server.Start()
	defer server.Close()
	client, err := ssmops.NewClient(server.URL, nil)
	require.NoError(t, err)
	call := func(op string, in any) error {
		var out any
		err := client.Call(t.Context(), op, in, &out)
		said.say(in, err)
		if in, ok := in.(parameter.GetParameterRequest); !ok || !in.WithDecryption {
			said.say(out)
		}
		return err
	}

	ctx := access.With(t.Context(), access.Principal{Name: "ann"})
	outcomes := map[string]int{}
	var all []canary
	for i := range n {
		c := newCanary(i)
		all = append(all, c)
		name := fmt.Sprint("/c/", i)
		req := parameter.PutParameterRequest{Name: name, Type: parameter.SecureString, Value: parameter.Secret(secret.String(c.text))}
		want, outcome := fault.Code(""), "success"
		err := error(nil)
		switch i % 10 {
		case 1:
			req.Name, want, outcome = fmt.Sprint("/denied/", i), fault.AccessDenied, "denied"
		case 2:
			req.AllowedPattern, want, outcome = "^never$", parameter.CodePatternMismatch, "pattern"
		case 3:
			req.Value, want, outcome = parameter.Secret(secret.String("{{"+c.text+"}}")), fault.Validation, "nested"
		case 4:
			req.DataType, want, outcome = "own:picky", fault.Validation, "validator"
		case 5:
			req.DataType, want, outcome = "own:panics", fault.InternalServerError, "panic"
		case 6:
			keys.away.Store(true)
			want, outcome = fault.ServiceUnavailable, "key service"
		case 7:
			req.KeyID, want, outcome = "no-such-key", parameter.CodeKeyID, "key"
		case 8:
			req.Value, want, outcome = parameter.Secret(secret.String(strings.Repeat(c.text, 200))), fault.Validation, "size"
		case 9:
			outcome = "canceled"
		}
		switch i % 10 {
		case 9:
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err = fleet.Parameters.PutParameter(ended, req)
			want = fault.RequestCanceled
		default:
			err = call("PutParameter", req)
		}
		keys.away.Store(false)
		said.say(req, err)
		require.Equal(t, want, fault.CodeOf(err), "%s: %v", outcome, err)
		outcomes[outcome]++
		if i%10 != 0 {
			continue
		}
		got, err := fleet.Parameters.GetParameter(ctx, parameter.GetParameterRequest{Name: name, WithDecryption: true})
		require.NoError(t, err)
		require.Equal(t, c.text, got.Parameter.Value.Reveal())
		said.say(got)
		require.NoError(t, call("GetParameter", parameter.GetParameterRequest{Name: name, WithDecryption: true}))
		require.NoError(t, call("GetParameter", parameter.GetParameterRequest{Name: name}))
		require.NoError(t, call("GetParameterHistory", parameter.GetParameterHistoryRequest{Name: name}))
		require.NoError(t, call("LabelParameterVersion", parameter.LabelParameterVersionRequest{Name: name, Labels: []string{"l"}}))
		secure, err := fleet.Parameters.SecureParameters(ctx, []string{name})
		require.NoError(t, err)
		require.Equal(t, c.text, string(secure[name].Reveal()))
		said.say(secure)
		// A command never sees it: {{ssm:…}} refuses, and {{ssm-secure:…}} is for fields of steps that take it.
		cmd := shell("echo {{ssm:" + name + "}}")
		cmd.Targets = fleet.All()
		_, err = fleet.Commands.Send(ctx, cmd)
		require.Equal(t, parameter.CodeUnsupportedType, fault.CodeOf(err))
		said.say(err)
		if i%50 == 0 {
			cmd = shell("echo {{ssm-secure:" + name + "}}")
			cmd.Targets = fleet.All()
			sent, err := fleet.Commands.Send(ctx, cmd)
			said.say(sent, err)
			if err == nil {
				sent, err = fleet.Commands.Wait(ctx, sent.ID)
				said.say(sent, err)
			}
		}
	}
	require.NoError(t, call("DescribeParameters", parameter.DescribeParametersRequest{}))
	_, err = file.Rotate(ctx)
	require.NoError(t, err)
	rewrapped, err := fleet.Parameters.Rewrap(ctx, parameter.RewrapRequest{})
	require.NoError(t, err)
	require.Equal(t, n/10, rewrapped.Rewrapped)
	diff, err := fleet.Parameters.Diff(ctx, parameter.DiffRequest{A: parameter.Side{Path: "/c"}, B: parameter.Side{Path: "/none"}, WithDecryption: true})
	require.NoError(t, err)
	require.Len(t, diff, n/10)
	said.say(rewrapped, diff)
	for _, f := range []parameter.Format{parameter.FormatJSON, parameter.FormatYAML, parameter.FormatDotenv, parameter.FormatAWS} {
		out, err := fleet.Parameters.Export(ctx, parameter.ExportRequest{Path: "/c", Format: f, Passphrase: secret.String("words of an export"), Rounds: 1000})
		require.NoError(t, err)
		said.say(out)
		said.Write(out.Data) //nolint:errcheck // it never fails
		_, err = fleet.Parameters.Import(ctx, parameter.ImportRequest{Data: out.Data, Format: f, Passphrase: secret.String("words of another"), Overwrite: true})
		require.Error(t, err)
		said.say(err)
	}
	for _, name := range []string{"/c/0", "/c/10"} {
		require.NoError(t, call("DeleteParameter", parameter.DeleteParameterRequest{Name: name}))
	}
	watch, stop := context.WithCancel(ctx)
	from, changes := uint64(0), 0
	for c, err := range fleet.Parameters.Watch(watch, parameter.WatchRequest{Path: "/", Recursive: true, After: &from}) {
		if err != nil {
			break
		}
		said.say(c)
		if changes++; c.Operation == parameter.OpDelete && c.Name == "/c/10" {
			break
		}
	}
	stop()
	require.Equal(t, 2*n/10+2, changes, "created, labelled, two deleted")
	require.NoError(t, fleet.Audit.Flush(ctx))
	records := 0
	for page := (audit.Page{MaxResults: 1000}); ; {
		es, next, err := fleet.Audit.List(ctx, audit.Filter{}, &page)
		require.NoError(t, err)
		for _, e := range es {
			said.say(e)
		}
		records += len(es)
		if page.NextToken = next; next == "" {
			break
		}
	}

	// A plant in each place: a String, a line of the log, an answer over the wire.
	inStore, inLog := newCanary(n+1), newCanary(n+2)
	require.NoError(t, call("PutParameter", parameter.PutParameterRequest{Name: "/plant", Type: parameter.String, Value: parameter.Text(inStore.text)}))
	require.NoError(t, call("GetParameter", parameter.GetParameterRequest{Name: "/plant"}))
	logger.Debug("planted", "value", inLog.text)

	places := map[string][]byte{}
	server.Close()
	var backup bytes.Buffer
	require.NoError(t, db.Backup(ctx, &backup))
	places["a backup of the store"] = backup.Bytes()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		places[rel], err = os.ReadFile(path)
		return err
	}))
	places["the log"], places["answers, errors and records"], places["scripts"] = slices.Clone(logs.b.Bytes()), slices.Clone(said.b.Bytes()), slices.Clone(scripts.b.Bytes())
	require.Contains(t, places, "store.db")
	require.Contains(t, places, "keys.json")
	f := newFinder(append(slices.Clone(all), inStore, inLog))
	planted := map[canary]int{}
	total := 0
	for place, hay := range places {
		total += len(hay)
		for c, as := range f.find(hay) {
			if c == inStore || c == inLog {
				planted[c]++
				continue
			}
			t.Errorf("secret %d is in %s: %v", slices.Index(all, c), place, as)
		}
	}
	require.Equal(t, map[canary]int{inStore: 3, inLog: 1}, planted, "in the store, its backup and the answers; in the log")
	require.Greater(t, len(places["the log"]), 1000)
	t.Logf("%d secrets in %v; %d texts looked for in %d bytes of %d places, %d audit records and %d events among them: none found but what was planted", n, outcomes, f.count, total, len(places), records, changes)
}

// kept writes what is answered down.
type kept struct {
	http.ResponseWriter
	said *ink
}

func (k *kept) Write(p []byte) (int, error) {
	k.said.Write(p) //nolint:errcheck // it never fails
	return k.ResponseWriter.Write(p)
}

func (k *kept) Unwrap() http.ResponseWriter { return k.ResponseWriter }
