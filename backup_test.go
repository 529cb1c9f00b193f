package fleetwright_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// bare is a store of another kind: it has no ability but the contract's.
type bare struct{ store.Store }

// past is a fleet that has a past: commands, one with large output, a document, a secret.
type past struct {
	dir     string
	node    string
	small   string // a command's id
	large   string
	content string // what the large one wrote
}

func makePast(t *testing.T) past {
	p := past{dir: filepath.Join(t.TempDir(), "data")}
	f, err := fleetwright.Open(t.Context(), p.dir, &fleetwright.Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Tags: map[string]string{"Role": "web"}})
	require.NoError(t, err)
	p.node = a.ID
	run := func(lines ...string) string {
		req := shell(lines...)
		req.InstanceIDs = []string{a.ID}
		c, err := f.Commands.Send(t.Context(), req)
		require.NoError(t, err)
		c, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
		return c.ID
	}
	p.small = run("echo small")
	p.large = run("i=0; while [ $i -lt 20000 ]; do echo line $i of a long output; i=$((i+1)); done")
	eventually(t, "the output is whole", func() bool {
		r, info, err := f.Commands.Output(t.Context(), p.large, p.node, "", false)
		if err == nil {
			r.Close()
		}
		return err == nil && info.Whole && info.Size > 300_000
	})
	p.content = outputOf(t, f, p.large, p.node)
	require.Greater(t, len(p.content), 300_000)
	_, err = f.Documents.CreateDocument(t.Context(), library.CreateDocumentRequest{Name: "Own", DocumentType: "Command",
		Content: `{"schemaVersion":"2.2","mainSteps":[{"name":"x","action":"aws:runShellScript","inputs":{"runCommand":["true"]}}]}`})
	require.NoError(t, err)
	_, err = f.Parameters.PutParameter(t.Context(), parameter.PutParameterRequest{Name: "/db/password", Type: parameter.SecureString, Value: parameter.Secret(secret.String("correct horse"))})
	require.NoError(t, err)
	return p
}

func outputOf(t *testing.T, f *fleetwright.Fleet, id, node string) string {
	t.Helper()
	r, _, err := f.Commands.Output(t.Context(), id, node, "", false)
	require.NoError(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}

// has checks that the fleet knows its past.
func (p past) has(t *testing.T, f *fleetwright.Fleet) {
	t.Helper()
	for _, id := range []string{p.small, p.large} {
		c, err := f.Commands.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
	}
	require.Equal(t, p.content, outputOf(t, f, p.large, p.node))
	v, err := f.Parameters.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "/db/password", WithDecryption: true})
	require.NoError(t, err)
	require.Equal(t, "correct horse", v.Parameter.Value.Reveal())
	_, err = f.Audit.Verify(t.Context(), nil)
	require.NoError(t, err)
}

func (p past) backup(t *testing.T, o *fleetwright.BackupOptions) ([]byte, fleetwright.Manifest) {
	t.Helper()
	f, err := fleetwright.Inspect(t.Context(), p.dir, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it was only read
	var b bytes.Buffer
	m, err := f.Backup(t.Context(), &b, o)
	require.NoError(t, err)
	return b.Bytes(), m
}

func healthy(t *testing.T, f *fleetwright.Fleet) {
	t.Helper()
	rep, err := f.Fsck(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, rep.Problems, rep.String())
	require.True(t, rep.OK())
	require.NotZero(t, rep.Records)
	require.Zero(t, rep.Foreign, "every kind of record is known: %v", rep.Kinds)
}

func restore(t *testing.T, backup []byte, dir, keys string) fleetwright.Restored {
	t.Helper()
	rep, err := fleetwright.RestoreDir(t.Context(), bytes.NewReader(backup), dir, &fleetwright.RestoreOptions{KeyFile: keys})
	require.NoError(t, err)
	return rep
}

// What was backed up while the control plane ran is there after a restore, with its output, its certificates and its secrets; epochs are higher; it is audited; the same again from there.
func TestABackupOfARunningFleetIsRestored(t *testing.T) {
	p := makePast(t)
	f, err := fleetwright.Open(t.Context(), p.dir, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "callers"), []byte("admin …"), 0o600))
	healthy(t, f)
	var b bytes.Buffer
	m, err := f.Backup(t.Context(), &b, &fleetwright.BackupOptions{Files: []string{"callers", "not-there"}})
	require.NoError(t, err)
	require.True(t, m.Consistent)
	require.Zero(t, m.Corrupt)
	require.NotZero(t, m.Blobs)
	require.Equal(t, int64(len(p.content)), m.BlobBytes)
	require.Empty(t, m.Listed)
	require.NotContains(t, b.String(), "correct horse")
	require.NotContains(t, b.String(), "admin …", "files are sealed")
	require.NotContains(t, b.String(), "PRIVATE KEY")
	require.NoError(t, f.Close())

	to := filepath.Join(t.TempDir(), "new")
	rep := restore(t, b.Bytes(), to, filepath.Join(p.dir, "keys.json"))
	require.Greater(t, rep.Epoch, m.Epoch)
	require.Empty(t, rep.Before)
	callers, err := os.ReadFile(filepath.Join(to, "callers"))
	require.NoError(t, err)
	require.Equal(t, "admin …", string(callers))
	for _, name := range []string{"ca.pem"} {
		was, err := os.ReadFile(filepath.Join(p.dir, "tls", name))
		require.NoError(t, err)
		is, err := os.ReadFile(filepath.Join(to, "tls", name))
		require.NoError(t, err)
		require.Equal(t, was, is)
	}
	g, err := fleetwright.Open(t.Context(), to, nil)
	require.NoError(t, err)
	defer g.Close() //nolint:errcheck // the test ends
	p.has(t, g)
	healthy(t, g)
	require.NoError(t, g.Audit.Flush(t.Context()))
	list, _, err := g.Audit.List(t.Context(), audit.Filter{Action: fleetwright.ActionRestore}, nil)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, fmt.Sprint(rep.Epoch), list[0].IDs["epoch"])
	held, err := g.Leases.Acquire(t.Context(), "", "something new")
	require.NoError(t, err)
	require.Greater(t, held.Epoch, rep.Epoch)
	parent, err := os.ReadDir(filepath.Dir(to))
	require.NoError(t, err)
	require.Len(t, parent, 1, "nothing is left beside it")
}

// Output may be left out: then it is listed, and fsck says what is missing.
func TestABackupWithoutOutputListsIt(t *testing.T) {
	p := makePast(t)
	b, m := p.backup(t, &fleetwright.BackupOptions{NoBlobs: true})
	require.NotEmpty(t, m.Listed)
	require.Zero(t, m.Blobs)
	require.Less(t, len(b), len(p.content))
	to := filepath.Join(t.TempDir(), "new")
	rep := restore(t, b, to, filepath.Join(p.dir, "keys.json"))
	require.Equal(t, len(m.Listed), rep.Lost)
	f, err := fleetwright.Inspect(t.Context(), to, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it was only read
	got, err := f.Fsck(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, len(m.Listed), got.Found)
	require.Equal(t, "missing", got.Problems[0].Kind)
}

// Between kinds of stores: from the file into one that has other frames, and back into a file.
func TestABackupGoesIntoAnotherKindOfStore(t *testing.T) {
	p := makePast(t)
	b, _ := p.backup(t, nil)
	keys, err := localkeys.Open(filepath.Join(p.dir, "keys.json"), nil)
	require.NoError(t, err)
	mac, err := record.NewCodec(secret.New(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	for name, codec := range map[string]*record.Codec{"checksums": {}, "another key": mac, "the same key": nil} {
		t.Run(name, func(t *testing.T) {
			s, blobs := bare{memstore.New()}, memblob.New()
			rep, err := fleetwright.Restore(t.Context(), bytes.NewReader(b), fleetwright.RestoreConfig{Store: s, Blobs: blobs, Keys: keys, Codec: codec})
			require.NoError(t, err)
			if codec == nil {
				codec, err = fleetwright.RecordCodec(t.Context(), s, keys)
				require.NoError(t, err)
			}
			f, err := fleetwright.New(fleetwright.Config{Store: s, Codec: codec, Blobs: blobs, Keys: keys, Authorizer: access.AllowAll{}})
			require.NoError(t, err)
			p.has(t, f)
			healthy(t, f)
			_, err = fleetwright.Restore(t.Context(), bytes.NewReader(b), fleetwright.RestoreConfig{Store: s, Blobs: blobs, Keys: keys, Codec: codec})
			require.Equal(t, fault.AlreadyExists, fault.CodeOf(err), "never over what is there")

			var again bytes.Buffer
			m, err := f.Backup(t.Context(), &again, nil)
			require.NoError(t, err)
			require.True(t, m.Consistent, "it is small enough for one View")
			to := filepath.Join(t.TempDir(), "back")
			ro := fleetwright.RestoreConfig{Blobs: memblob.New(), Keys: keys, From: codec}
			if m.Codec == "host" {
				ro.Store, ro.Codec = memstore.New(), &record.Codec{}
				_, err := fleetwright.Restore(t.Context(), bytes.NewReader(again.Bytes()), ro)
				require.NoError(t, err)
				ro.From, ro.Store = nil, memstore.New()
				_, err = fleetwright.Restore(t.Context(), bytes.NewReader(again.Bytes()), ro)
				require.Equal(t, fault.Validation, fault.CodeOf(err))
				return
			}
			next := restore(t, again.Bytes(), to, filepath.Join(p.dir, "keys.json"))
			require.Greater(t, next.Epoch, rep.Epoch, "a restore of a restore")
			g, err := fleetwright.Open(t.Context(), to, nil)
			require.NoError(t, err)
			defer g.Close() //nolint:errcheck // the test ends
			p.has(t, g)
			healthy(t, g)
		})
	}
}

// A backup that is not byte for byte what was written is refused, wherever it is bent or cut, and nothing is replaced.
func TestADamagedBackupIsRefused(t *testing.T) {
	p := makePast(t)
	b, _ := p.backup(t, &fleetwright.BackupOptions{NoBlobs: true})
	keys, err := localkeys.Open(filepath.Join(p.dir, "keys.json"), nil)
	require.NoError(t, err)
	n := testenv.Count(t, "FLEETWRIGHT_BACKUP_FLIPS", 60)
	if testenv.Long() {
		n = testenv.Count(t, "FLEETWRIGHT_BACKUP_FLIPS", 1500)
	}
	random := rand.New(rand.NewPCG(1, 2))
	try := func(what string, b []byte) {
		_, err := fleetwright.Restore(t.Context(), bytes.NewReader(b), fleetwright.RestoreConfig{Store: memstore.New(), Blobs: memblob.New(), Keys: keys})
		require.Error(t, err, what)
		require.Contains(t, []fault.Code{fault.DataCorrupt, fault.UnsupportedOperation}, fault.CodeOf(err), "%s: %v", what, err)
	}
	for range n {
		bent := bytes.Clone(b)
		at := random.IntN(len(b))
		bent[at] ^= 1 << random.IntN(8)
		try(fmt.Sprintf("a bit of byte %d", at), bent)
		cut := random.IntN(len(b))
		try(fmt.Sprintf("cut at %d", cut), b[:cut])
	}
	try("something behind it", append(bytes.Clone(b), 0))
	try("nothing", nil)
	testenv.Figure(t, "bit flips and cuts of a backup: refused", 2*n, 0)

	// The directory is as it was.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	o := &fleetwright.RestoreOptions{KeyFile: filepath.Join(p.dir, "keys.json")}
	_, err = fleetwright.RestoreDir(t.Context(), bytes.NewReader(b), dir, o)
	require.Equal(t, fault.AlreadyExists, fault.CodeOf(err))
	o.Force = true
	_, err = fleetwright.RestoreDir(t.Context(), bytes.NewReader(b[:len(b)-5]), dir, o)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	require.FileExists(t, filepath.Join(dir, "mine"))
	require.NoFileExists(t, filepath.Join(dir, "store.db"))
	other, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	_, err = fleetwright.Restore(t.Context(), bytes.NewReader(b), fleetwright.RestoreConfig{Store: memstore.New(), Blobs: memblob.New(), Keys: other})
	require.ErrorContains(t, err, "key file does not open the backup")
}

// Forced over a directory: what was there is kept beside; a control plane that has it is named.
func TestAForcedRestoreKeepsWhatWasThere(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short: it makes a past to restore")
	}
	p := makePast(t)
	b, _ := p.backup(t, nil)
	f, err := fleetwright.Open(t.Context(), p.dir, nil)
	require.NoError(t, err)
	_, err = fleetwright.RestoreDir(t.Context(), bytes.NewReader(b), p.dir, &fleetwright.RestoreOptions{Force: true})
	require.ErrorContains(t, err, "is in use by")
	require.NoError(t, f.Close())
	rep, err := fleetwright.RestoreDir(t.Context(), bytes.NewReader(b), p.dir, &fleetwright.RestoreOptions{Force: true})
	require.NoError(t, err, "its own key file is there")
	require.DirExists(t, rep.Before)
	for _, dir := range []string{p.dir, rep.Before} {
		f, err := fleetwright.Open(t.Context(), dir, nil)
		require.NoError(t, err)
		p.has(t, f)
		require.NoError(t, f.Close())
	}
}

const restoreEnv = "FLEETWRIGHT_RESTORE"

// A restore that is killed at any time leaves the directory as it was, or restored, whole.
func TestAKilledRestoreIsDoneOrNot(t *testing.T) {
	if env := os.Getenv(restoreEnv); env != "" {
		args := strings.Split(env, "|")
		b, err := os.Open(args[0])
		if err == nil {
			_, err = fleetwright.RestoreDir(context.Background(), b, args[1], &fleetwright.RestoreOptions{Force: true, KeyFile: args[2]})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	p := makePast(t)
	b, _ := p.backup(t, nil)
	file := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	kills := testenv.Count(t, "FLEETWRIGHT_RESTORE_KILLS", 5)
	if testenv.Long() {
		kills = testenv.Count(t, "FLEETWRIGHT_RESTORE_KILLS", 60)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	killed := 0
	for i := range kills {
		cmd := exec.Command(exe, "-test.run=^TestAKilledRestoreIsDoneOrNot$")
		cmd.Env = append(os.Environ(), restoreEnv+"="+strings.Join([]string{file, p.dir, filepath.Join(p.dir, "keys.json")}, "|"))
		var said bytes.Buffer
		cmd.Stderr = &said
		began := time.Now()
		require.NoError(t, cmd.Start())
		if i > 0 { // the first runs to its end, the others are killed somewhere within such a time
			time.AfterFunc(time.Duration(rand.Int64N(int64(400*time.Millisecond))), func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
		}
		if err := cmd.Wait(); err != nil {
			require.NotContains(t, said.String(), "fleetwright", "it failed by itself")
			killed++
		}
		require.Less(t, time.Since(began), time.Minute)
		f, err := fleetwright.Open(t.Context(), p.dir, nil)
		require.NoError(t, err)
		p.has(t, f)
		require.NoError(t, f.Close())
		old, err := filepath.Glob(p.dir + ".before-*")
		require.NoError(t, err)
		for _, dir := range old {
			require.NoError(t, os.RemoveAll(dir))
		}
	}
	t.Logf("%d of %d were killed before their end", killed, kills)
	testenv.Figure(t, "kill -9 during restore", kills, 0)
}

// Fsck names what is wrong, and repairs what is safe and nothing else.
func TestFsckNamesAndRepairs(t *testing.T) {
	p := makePast(t)
	s, err := boltstore.Open(t.Context(), filepath.Join(p.dir, "store.db"), nil)
	require.NoError(t, err)
	cmd := func(kind string) key.K { return key.New("default").Str("command").Str(kind) }
	var invocation, state []byte
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		flip := func(k []byte) {
			v, err := tx.Get(ctx, k)
			require.NoError(t, err)
			v = bytes.Clone(v)
			v[len(v)/2] ^= 4
			require.NoError(t, tx.Put(k, v))
		}
		invocation, state = cmd("invocation").Str(p.small).Str(p.node), cmd("state").Str(p.large)
		flip(invocation)
		flip(key.New("default").Str("library").Str("content").Str("Own").Uint(1))
		require.NoError(t, tx.Delete(key.New("default").Str("node").Str("all").Str(p.node)))
		require.NoError(t, tx.Delete(cmd("command").Str(p.large)))
		return tx.Delete(state)
	}))
	require.NoError(t, s.Close())

	f, err := fleetwright.Inspect(t.Context(), p.dir, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	rep, err := f.Fsck(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, rep.OK())
	text := rep.String()
	require.Contains(t, text, "corrupt: default/command/invocation/"+p.small+"/"+p.node+": checksum does not match: how this command went on this node")
	require.Contains(t, text, "corrupt: default/library/content/Own/1")
	require.Contains(t, text, "missing: default/node/all/"+p.node)
	require.Contains(t, text, "orphan: default/command/stream/"+p.large)
	require.Contains(t, text, "-repair mends")

	rep, err = f.Fsck(t.Context(), &fleetwright.FsckOptions{Repair: true})
	require.NoError(t, err)
	require.Equal(t, rep.Found-2, rep.Fixed, rep.String())
	rep, err = f.Fsck(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Found, rep.String())
	for _, pr := range rep.Problems {
		require.Equal(t, "corrupt", pr.Kind)
		require.NotEmpty(t, pr.Do)
	}

	// A backup has the damage as it is; a restore refuses it, or leaves it out.
	var b bytes.Buffer
	m, err := f.Backup(t.Context(), &b, nil)
	require.NoError(t, err)
	require.Equal(t, 2, m.Corrupt)
	o := &fleetwright.RestoreOptions{KeyFile: filepath.Join(p.dir, "keys.json")}
	to := filepath.Join(t.TempDir(), "new")
	_, err = fleetwright.RestoreDir(t.Context(), bytes.NewReader(b.Bytes()), to, o)
	require.ErrorContains(t, err, "default/command/invocation/")
	require.NoDirExists(t, to)
	o.SkipDamaged = true
	done, err := fleetwright.RestoreDir(t.Context(), bytes.NewReader(b.Bytes()), to, o)
	require.NoError(t, err)
	require.Equal(t, 2, done.Skipped)
}

// Who may not, may not; and the refusal is recorded.
func TestBackupAndFsckAreRights(t *testing.T) {
	p := makePast(t)
	f, err := fleetwright.Inspect(t.Context(), p.dir, &fleetwright.Options{Authorizer: access.DenyAll{}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	var b bytes.Buffer
	_, err = f.Backup(t.Context(), &b, nil)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	require.Zero(t, b.Len())
	_, err = f.Fsck(t.Context(), nil)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = fleetwright.Inspect(t.Context(), t.TempDir(), nil)
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
}
