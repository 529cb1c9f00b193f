package parameter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func TestCompareAndSet(t *testing.T) {
	w := newWorld(t, nil)
	zero, one := int64(0), int64(1)
	put := func(value string, expected *int64, tags ...parameter.Tag) error {
		_, err := w.Put(admin, parameter.PutRequest{PutParameterRequest: parameter.PutParameterRequest{Name: "c", Type: parameter.String, Value: parameter.Text(value), Tags: tags}, Expected: expected, SetTags: tags != nil})
		return err
	}
	code(t, parameter.CodeVersionMismatch, put("x", &one))
	require.NoError(t, put("a", &zero))
	code(t, parameter.CodeVersionMismatch, put("b", &zero))
	require.NoError(t, put("b", &one, parameter.Tag{Key: "k", Value: "v"}))
	code(t, parameter.CodeVersionMismatch, put("c", &one))
	require.Equal(t, "b", w.get("c"))
	tags, err := w.ListTagsForResource(admin, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "c"})
	require.NoError(t, err)
	require.Equal(t, []parameter.Tag{{Key: "k", Value: "v"}}, tags.TagList, "value and tags at once (T19)")

	// Of many who saw the same version one writes.
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	two := int64(2)
	for i := range 20 {
		wg.Go(func() {
			if put(fmt.Sprint(i), &two) == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, won)
}

func TestATransactionIsMadeWholeOrNotAtAll(t *testing.T) {
	w := newWorld(t, nil)
	w.put("/t/old", "v")
	w.put("/t/guard", "v")
	put := func(name, value string) parameter.PutRequest {
		return parameter.PutRequest{PutParameterRequest: parameter.PutParameterRequest{Name: name, Type: parameter.SecureString, Value: parameter.Text(value)}}
	}
	tx := parameter.Transaction{Puts: []parameter.PutRequest{put("/t/a", "1"), put("/t/b", "2")}, Deletes: []parameter.Deletion{{Name: "/t/old"}}, If: []parameter.Condition{{Name: "/t/guard", Version: 2}, {Name: "/t/none"}}}
	_, err := w.Transact(admin, tx)
	code(t, parameter.CodeVersionMismatch, err)
	require.Equal(t, "v", w.get("/t/old"))
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "/t/a"})
	code(t, parameter.CodeNotFound, err)
	tx.If[0].Version = 1
	out, err := w.Transact(admin, tx)
	require.NoError(t, err)
	require.Len(t, out.Puts, 2)
	require.Equal(t, "12", w.get("/t/a")+w.get("/t/b"))
	_, err = w.Transact(admin, tx)
	code(t, parameter.CodeAlreadyExists, err)
	for _, bad := range []parameter.Transaction{{}, {Puts: []parameter.PutRequest{put("x", "1"), put("/x", "2")}}, {Puts: make([]parameter.PutRequest, 101)}} {
		_, err := w.Transact(admin, bad)
		code(t, fault.Validation, err)
	}
}

func TestPointInTime(t *testing.T) {
	w := newWorld(t, nil)
	start := w.now
	at := func(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }
	for h := 1; h <= 3; h++ {
		w.now = at(h)
		w.put("/p/a", fmt.Sprint("a", h))
	}
	w.now = at(2)
	w.putSecret("/p/s", "s2")
	w.put("/p/gone", "g")
	w.now = at(4)
	_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "/p/gone"})
	require.NoError(t, err)
	read := func(name string, when time.Time) (string, error) {
		p, err := w.GetAt(admin, parameter.GetAtRequest{Name: name, At: when, WithDecryption: true})
		return p.Value.Reveal(), err
	}
	for h, want := range map[int]string{1: "a1", 2: "a2", 3: "a3", 9: "a3"} {
		got, err := read("/p/a", at(h))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = read("/p/a", at(1).Add(-1))
	code(t, parameter.CodeNotFound, err)
	_, err = read("/p/gone", at(3))
	code(t, parameter.CodeVersionNotFound, err)
	_, err = read("/p/gone", at(4))
	code(t, parameter.CodeNotFound, err)
	_, err = read("/p/never", at(4))
	code(t, parameter.CodeNotFound, err)
	out, err := w.ByPathAt(admin, parameter.ByPathAtRequest{Path: "/p", At: at(2), WithDecryption: true})
	require.NoError(t, err)
	require.Len(t, out.Parameters, 2)
	require.Equal(t, "a2s2", out.Parameters[0].Value.Reveal()+out.Parameters[1].Value.Reveal())
	require.Equal(t, []string{"/p/gone"}, out.Lost)

	diff, err := w.Diff(admin, parameter.DiffRequest{A: parameter.Side{Path: "/p", At: at(1)}, B: parameter.Side{Path: "/p"}, WithDecryption: true})
	require.NoError(t, err)
	require.Equal(t, "/a Changed /s Added", fmt.Sprintf("%s %s %s %s", diff[0].Name, diff[0].Kind, diff[1].Name, diff[1].Kind))
	require.NotContains(t, fmt.Sprintf("%+v", *diff[1].After), "s2")
	w.put("/q/a", "a3")
	w.putSecret("/q/s", "s2")
	for decrypt, want := range map[bool]int{true: 0, false: 1} {
		diff, err = w.Diff(admin, parameter.DiffRequest{A: parameter.Side{Path: "/p"}, B: parameter.Side{Path: "/q"}, WithDecryption: decrypt})
		require.NoError(t, err)
		require.Len(t, diff, want)
	}
	require.Equal(t, parameter.DiffUnknown, diff0(w, t))
}

func diff0(w *world, t *testing.T) string {
	diff, err := w.Diff(admin, parameter.DiffRequest{A: parameter.Side{Path: "/p"}, B: parameter.Side{Path: "/q"}})
	require.NoError(t, err)
	return diff[0].Kind
}

func TestQuery(t *testing.T) {
	w := newWorld(t, nil)
	start := w.now
	for i := range 120 {
		w.now = start.Add(time.Duration(i) * time.Minute)
		r := str(fmt.Sprintf("/q/%03d", 119-i), "v")
		r.Tags = []parameter.Tag{{Key: "mod", Value: fmt.Sprint(i % 7)}}
		w.must(r)
	}
	w.put("/q/005", "again")
	_, err := w.LabelParameterVersion(admin, parameter.LabelParameterVersionRequest{Name: "/q/005", ParameterVersion: 1, Labels: []string{"prod"}})
	require.NoError(t, err)
	query := func(since time.Time, fs ...parameter.ParameterStringFilter) (names []string) {
		req := parameter.QueryRequest{ParameterFilters: fs, ModifiedSince: since, MaxResults: 7}
		for {
			out, err := w.Query(admin, req)
			require.NoError(t, err)
			for _, p := range out.Parameters {
				names = append(names, p.Name)
			}
			if req.NextToken = out.NextToken; req.NextToken == "" {
				return names
			}
		}
	}
	require.Len(t, query(time.Time{}), 120)
	require.Len(t, query(start), 120)
	late := query(start.Add(100 * time.Minute))
	require.Len(t, late, 20)
	require.Equal(t, []string{"/q/019", "/q/018"}, late[:2], "by time")
	require.Equal(t, "/q/005", late[19])
	require.Len(t, query(time.Time{}, parameter.ParameterStringFilter{Key: "tag:mod", Values: []string{"3", "5"}}), 34)
	require.Len(t, query(start.Add(100*time.Minute), parameter.ParameterStringFilter{Key: "tag:mod", Values: []string{"3"}}), 3)
	out, err := w.Query(admin, parameter.QueryRequest{ParameterFilters: []parameter.ParameterStringFilter{{Key: "Label", Values: []string{"prod"}}}})
	require.NoError(t, err)
	require.Len(t, out.Parameters, 1)
	require.EqualValues(t, 1, out.Parameters[0].Version)
	_, err = w.Query(admin, parameter.QueryRequest{ModifiedSince: start, NextToken: "x"})
	code(t, fault.InvalidNextToken, err)
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *parameter.Config) { c.Authorizer = deny{"*": "parameter/w/hidden"} })
		w.put("/w/before", "v")
		const watchers = 20
		var wg sync.WaitGroup
		seen := make([][]string, watchers)
		ctx, cancel := context.WithCancel(as("bob"))
		for i := range watchers {
			wg.Go(func() {
				for c, err := range w.Watch(ctx, parameter.WatchRequest{Path: "/w", Recursive: i%2 == 0}) {
					if err != nil {
						return
					}
					seen[i] = append(seen[i], fmt.Sprint(c.Operation, c.Name, c.Version))
				}
			})
		}
		synctest.Wait()
		w.put("/w/a", "1")
		w.put("/w/a", "2")
		w.put("/w/deep/b", "1")
		w.put("/w/hidden/b", "1")
		w.put("/x/c", "1")
		synctest.Wait()
		_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "/w/a"})
		require.NoError(t, err)
		synctest.Wait()
		cancel()
		wg.Wait()
		for i, got := range seen {
			want := []string{"Create/w/a1", "Update/w/a2", "Delete/w/a2"}
			if i%2 == 0 {
				want = []string{"Create/w/a1", "Update/w/a2", "Create/w/deep/b1", "Delete/w/a2"}
			}
			require.Equal(t, want, got)
		}
		// From a cursor: what was missed, each once.
		from := uint64(2)
		var late []uint64
		for c, err := range w.Watch(as("bob"), parameter.WatchRequest{Recursive: true, After: &from}) {
			require.NoError(t, err)
			if late = append(late, c.Seq); c.Operation == parameter.OpDelete {
				break
			}
		}
		require.Equal(t, []uint64{3, 4, 6, 7}, late)
		for _, err := range w.Watch(as("bob"), parameter.WatchRequest{Path: "w"}) {
			code(t, fault.Validation, err)
		}
	})
}

func TestResolution(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Authorizer = deny{"*": "parameter/no"} })
	w.put("/d/a", "1")
	w.put("/d/a", "2")
	w.put("flat", "f")
	w.put("/no/x", "n")
	w.putSecret("/d/s", "canary")
	_, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: "list", Type: parameter.StringList, Value: parameter.Text("a, b")})
	require.NoError(t, err)
	bob := as("bob")
	got, err := w.Parameters(bob, []string{"/d/a", "/d/a:1", "/flat", "list", "/no/x", "absent"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"/d/a": "2", "/d/a:1": "1", "/flat": "f", "list": "a,b"}, got)
	_, err = w.Parameters(bob, []string{"/d/a", "/d/s"})
	code(t, parameter.CodeUnsupportedType, err)
	sec, err := w.SecureParameters(bob, []string{"/d/s", "/d/a"})
	require.NoError(t, err)
	require.Equal(t, "canary", string(sec["/d/s"].Reveal()))
	require.Equal(t, "2", string(sec["/d/a"].Reveal()))
}

func TestRewrapIsResumableAndKeepsWhatItCannotWrap(t *testing.T) {
	dir := t.TempDir()
	open := func() *boltstore.Store {
		db, err := boltstore.Open(t.Context(), dir+"/store", nil)
		require.NoError(t, err)
		return db
	}
	db := open()
	w := newWorld(t, func(c *parameter.Config) { c.Store = db })
	w.st = db
	zeroth := w.keys.Primary()
	w.putSecret("/r/lost", "v")
	first, err := w.keys.Rotate(admin)
	require.NoError(t, err)
	for i := range 30 {
		w.putSecret(fmt.Sprintf("/r/%02d", i), "old")
		w.putSecret(fmt.Sprintf("/r/%02d", i), fmt.Sprint("v", i))
	}
	w.put("/r/plain", "p")
	require.NoError(t, w.keys.Remove(admin, zeroth))
	second, err := w.keys.Rotate(admin)
	require.NoError(t, err)
	looked, wrapped := 0, 0
	for i := 0; ; i++ {
		out, err := w.Rewrap(admin, parameter.RewrapRequest{Most: 7})
		require.NoError(t, err)
		looked, wrapped = looked+out.Parameters, wrapped+out.Rewrapped
		if out.Done {
			require.Len(t, out.Failed, 1)
			require.Equal(t, "/r/lost", out.Failed[0].Name)
			break
		}
		require.NoError(t, db.Close()) // a crash between two calls
		db = open()
		w.open(func(c *parameter.Config) { c.Store = db })
		w.st = db
		require.Equal(t, "v3", w.get("/r/03"), "readable all the time")
	}
	defer db.Close()
	require.Equal(t, 31, looked)
	require.Equal(t, 60, wrapped)
	require.NoError(t, w.keys.Remove(admin, first), "nothing is left under the former key")
	w.box.Forget()
	for i := range 30 {
		require.Equal(t, fmt.Sprint("v", i), w.get(fmt.Sprintf("/r/%02d", i)))
		require.Equal(t, "old", w.get(fmt.Sprintf("/r/%02d:1", i)))
	}
	require.NoError(t, w.keysHas(second))
	again, err := w.Rewrap(admin, parameter.RewrapRequest{})
	require.NoError(t, err)
	require.Zero(t, again.Rewrapped)
	_, err = w.Rewrap(admin, parameter.RewrapRequest{To: "nope"})
	code(t, parameter.CodeKeyID, err)
}

func (w *world) keysHas(id string) error {
	if w.keys.Primary() != id {
		return errors.New("another key is primary")
	}
	return nil
}

func TestExportAndImport(t *testing.T) {
	pass := secret.String("correct horse battery")
	for _, f := range []parameter.Format{parameter.FormatJSON, parameter.FormatYAML, parameter.FormatDotenv, parameter.FormatAWS} {
		t.Run(string(f), func(t *testing.T) {
			w := newWorld(t, nil)
			r := str("/e/db/url", "pg://\"a\"?x=$y\n`z` #1 \\ ü")
			r.Description = "where"
			r.Tags = []parameter.Tag{{Key: "env", Value: "dev"}}
			w.must(r)
			w.putSecret("/e/db/password", "canary-4711-canary")
			_, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: "/e/list", Type: parameter.StringList, Value: parameter.Text("a,b")})
			require.NoError(t, err)
			w.put("/other", "x")
			out, err := w.Export(admin, parameter.ExportRequest{Path: "/e", Format: f})
			require.NoError(t, err)
			require.Equal(t, 2, out.Count)
			require.Equal(t, []string{"/e/db/password"}, out.LeftOut, "secrets only when asked")
			out, err = w.Export(admin, parameter.ExportRequest{Path: "/e", Format: f, Passphrase: pass, Rounds: 1000})
			require.NoError(t, err)
			require.Equal(t, 3, out.Count)
			require.NotContains(t, string(out.Data), "canary")
			if f == parameter.FormatDotenv {
				require.Contains(t, string(out.Data), "\nDB_PASSWORD=\"fwsecret1\\$1000\\$")
			}
			to := newWorld(t, nil)
			_, err = to.Import(admin, parameter.ImportRequest{Data: out.Data, Format: f})
			code(t, fault.Validation, err)
			none, err := to.Import(admin, parameter.ImportRequest{Data: out.Data, Format: f, Passphrase: secret.String("wrong horse")})
			require.Empty(t, none.Names, "nothing was written, and nothing is said to be")
			code(t, fault.Validation, err)
			require.Empty(t, to.left(), "nothing half done")
			in := parameter.ImportRequest{Data: out.Data, Format: f, Passphrase: pass, DryRun: true}
			got, err := to.Import(admin, in)
			require.NoError(t, err)
			require.Len(t, got.Names, 3)
			require.Empty(t, to.left())
			in.DryRun = false
			_, err = to.Import(admin, in)
			require.NoError(t, err)
			for _, name := range []string{"/e/db/url", "/e/db/password", "/e/list"} {
				require.Equal(t, w.get(name), to.get(name))
			}
			p, err := to.GetParameter(admin, parameter.GetParameterRequest{Name: "/e/db/password", WithDecryption: true})
			require.NoError(t, err)
			require.Equal(t, parameter.SecureString, p.Parameter.Type)
			_, err = to.Import(admin, in)
			code(t, parameter.CodeAlreadyExists, err)
			in.Overwrite = true
			_, err = to.Import(admin, in)
			require.NoError(t, err)
			moved := strings.Replace(string(out.Data), "/e/db/password", "/e/db/passw0rd", 1)
			_, err = to.Import(admin, parameter.ImportRequest{Data: []byte(moved), Format: f, Passphrase: pass, Overwrite: true})
			code(t, fault.Validation, err)
		})
	}
}

func TestDotenvFilesOfOthers(t *testing.T) {
	w := newWorld(t, nil)
	const text = "# comment\n\nexport A=plain # note\nB='single $x'\nC=\"two\\nlines \\\"q\\\"\" # note\n D = spaced \n"
	_, err := w.Import(admin, parameter.ImportRequest{Data: []byte(text), Format: parameter.FormatDotenv, Path: "/env/"})
	require.NoError(t, err)
	for name, want := range map[string]string{"A": "plain", "B": "single $x", "C": "two\nlines \"q\"", "D": "spaced"} {
		require.Equal(t, want, w.get("/env/"+name))
	}
	for _, bad := range []string{"no equals canary", "A=\"canary", "A='canary", "A=\"x\" canary", "=canary", "A B=canary"} {
		_, err := w.Import(admin, parameter.ImportRequest{Data: []byte("OK=1\n" + bad), Format: parameter.FormatDotenv, Path: "/bad"})
		code(t, fault.Validation, err)
		require.Contains(t, err.Error(), "line 2")
		require.NotContains(t, err.Error(), "canary")
	}
	for f, bad := range map[parameter.Format]string{parameter.FormatJSON: `{"format":"canary`, parameter.FormatYAML: "parameters: 'canary'\n  x: [", parameter.FormatAWS: `{"canary":1}`, "toml": "x"} {
		_, err := w.Import(admin, parameter.ImportRequest{Data: []byte(bad), Format: f})
		code(t, fault.Validation, err)
		require.NotContains(t, err.Error(), "canary")
	}
}

// lossy is a store that loses the answers of commits: of every second one that was made.
type lossy struct {
	store.Store
	mu   sync.Mutex
	n    int
	lose func(n int) (commit bool, answer error)
}

func (l *lossy) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	l.mu.Lock()
	l.n++
	commit, answer := l.lose(l.n)
	l.mu.Unlock()
	if !commit {
		return answer
	}
	if err := l.Store.Update(ctx, fn); err != nil {
		return err
	}
	return answer
}

func TestCommitsOfUnknownOutcomeAreSettledByReading(t *testing.T) {
	var commit bool
	lost := &lossy{Store: memstore.New(), lose: func(int) (bool, error) { return true, nil }}
	w := newWorld(t, nil)
	w.st = lost
	w.open(func(c *parameter.Config) { c.Store = lost; c.Audit = nil })
	w.put("a", "1")
	lost.lose = func(int) (bool, error) { return commit, store.ErrCommitUnknown }
	commit = true
	require.EqualValues(t, 2, w.put("a", "2"), "it was made")
	_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "a"})
	require.NoError(t, err)
	lost.lose = func(int) (bool, error) { return true, nil }
	w.put("a", "1")
	lost.lose = func(int) (bool, error) { return commit, store.ErrCommitUnknown }
	commit = false
	r := str("a", "3")
	r.Overwrite = true
	_, err = w.PutParameter(admin, r)
	code(t, fault.ServiceUnavailable, err)
	require.Equal(t, "1", w.get("a"))
	_, err = w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "a"})
	code(t, fault.ServiceUnavailable, err)
	_, err = w.PutParameter(admin, str("new", "3"))
	code(t, fault.OutcomeUnknown, err)
}

func TestADurableLogRefusesReadsThatItCannotRecord(t *testing.T) {
	broken := &lossy{Store: memstore.New(), lose: func(int) (bool, error) { return true, nil }}
	w := newWorld(t, func(c *parameter.Config) { c.Store = broken })
	w.putSecret("s", "canary")
	w.put("p", "plain")
	broken.lose = func(int) (bool, error) { return false, store.ErrReadOnly }
	_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: "s", WithDecryption: true})
	code(t, fault.ServiceUnavailable, err)
	require.Equal(t, "plain", w.get("p"), "what is no secret is buffered")
	w.cfg.Audit = audit.New(audit.Config{Store: broken, Durable: true})
	durable := parameter.New(w.cfg)
	_, err = durable.GetParameter(admin, parameter.GetParameterRequest{Name: "p"})
	code(t, fault.ServiceUnavailable, err)
}

func TestTenantsDoNotMeet(t *testing.T) {
	w := newWorld(t, nil)
	red, blue := tenant("red", "x"), tenant("blue", "x")
	for ctx, v := range map[context.Context]string{red: "r", blue: "b"} {
		_, err := w.PutParameter(ctx, parameter.PutParameterRequest{Name: "a", Type: parameter.SecureString, Value: parameter.Text(v)})
		require.NoError(t, err)
	}
	out, err := w.GetParameter(blue, parameter.GetParameterRequest{Name: "a", WithDecryption: true})
	require.NoError(t, err)
	require.Equal(t, "b", out.Parameter.Value.Reveal())
	_, err = w.GetParameter(blue, parameter.GetParameterRequest{Name: "arn:aws:ssm:local:red:parameter/a", WithDecryption: true})
	code(t, parameter.CodeNotFound, err)
	_, err = w.DeleteParameter(access.With(context.Background(), access.Principal{Tenant: "green"}), parameter.DeleteParameterRequest{Name: "a"})
	code(t, parameter.CodeNotFound, err)
}

// forgetful is a store that commits, lets others work, and then loses the answer, once.
type forgetful struct {
	store.Store
	then func()
}

func (f *forgetful) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	then := f.then
	f.then = nil
	err := f.Store.Update(ctx, fn)
	if then != nil && err == nil {
		then()
		return store.ErrCommitUnknown
	}
	return err
}

func TestALostAnswerIsNotSettledByAParameterThatWasMadeAgain(t *testing.T) {
	for versions := range 3 {
		st := &forgetful{Store: memstore.New()}
		w := newWorld(t, func(c *parameter.Config) { c.Store = st })
		w.st = st
		w.put("a", "1")
		st.then = func() {
			_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "a"})
			require.NoError(t, err)
			for range versions {
				w.put("a", "again")
			}
		}
		r := str("a", "2")
		r.Overwrite = true
		_, err := w.PutParameter(admin, r)
		code(t, fault.OutcomeUnknown, err)
	}
	st := &forgetful{Store: memstore.New()}
	w := newWorld(t, func(c *parameter.Config) { c.Store = st })
	w.put("a", "1")
	st.then = func() { w.put("a", "3") }
	require.EqualValues(t, 2, w.put("a", "2"), "in the past by now")
}
