package realworld

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// open lets the user that scripts run as open a file or folder.
func open(path string) error { return os.Chmod(path, 0o777) }

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// place is a folder that scripts may see: what they import, and the sockets of the AWS of each test.
type place struct {
	dir string
	iso script.Isolation
	n   atomic.Int64
}

// prepare finds out once how scripts can be kept apart here, by running one that imports what they all import.
var prepare = sync.OnceValues(func() (*place, error) {
	dir, err := os.MkdirTemp("", "small-aws-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.CopyFS(filepath.Join(dir, "python"), os.DirFS(filepath.Join("testdata", "python")))); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	p := &place{dir: dir}
	var failed error
	for _, iso := range []script.Isolation{&script.Namespace{Allow: []string{dir}}, &script.User{UID: 61184, GID: 61184}} {
		out, err := script.NewLocal(iso, nil).Run(context.Background(), script.Job{Language: script.Python, Version: "3.11", Handler: "h", Script: []byte("import boto3\ndef h(e, c): return boto3.__file__"),
			Input: json.RawMessage("{}"), Context: json.RawMessage("{}"), Env: map[string]string{"PYTHONPATH": filepath.Join(dir, "python")}})
		if err == nil && strings.Contains(string(out.Payload), dir) {
			p.iso = iso
			return p, nil
		}
		failed = errors.Join(failed, err)
		if out.Failure != "" {
			failed = errors.Join(failed, errors.New(out.Failure))
		}
	}
	return p, failed
})

func TestMain(tests *testing.M) {
	code := tests.Run()
	if p, _ := prepare(); p != nil { //nolint:errcheck // there is a folder, or not
		os.RemoveAll(p.dir) //nolint:errcheck // a temporary folder
	}
	os.Exit(code)
}

// scripts returns the folder; where no script can be kept apart the test is skipped aloud.
func scripts(t *testing.T) *place {
	t.Helper()
	p, err := prepare()
	if p == nil || p.iso == nil {
		t.Skipf("SKIPPED: no script can be kept apart on this machine (needs Linux, Python 3, and root or user namespaces): %v", err)
	}
	return p
}

// runbooks finds documents: those of the test's own, then AWS's.
type runbooks struct {
	corpus string
	own    map[string]string
}

// openCorpus finds the runbooks that AWS publishes; without them the test is skipped aloud.
func openCorpus(t *testing.T) *runbooks {
	t.Helper()
	dir := os.Getenv("FLEETWRIGHT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.tsv")); err != nil {
		t.Skipf("SKIPPED: no corpus of real documents at %s (set FLEETWRIGHT_CORPUS)", dir)
	}
	return &runbooks{corpus: dir}
}

// Fetch implements automation.Documents.
func (r *runbooks) Fetch(_ context.Context, _, name, _ string) ([]byte, string, string, string, error) {
	if text, ok := r.own[name]; ok {
		return []byte(text), "", "1", "", nil
	}
	for _, path := range []string{"ceshihao+ssm-public-documents/documents/" + name + ".json", "yasser-alhawary+SSM-Documents/Data/Automation/" + name + "/" + name + ".yaml"} {
		if b, err := os.ReadFile(filepath.Join(r.corpus, "documents", path)); r.corpus != "" && err == nil {
			return b, "", "1", "", nil
		}
	}
	return nil, "", "", "", fault.New("runbooks", fault.InvalidDocument, "no document %s", name)
}

// attachments are files of runbooks, by the name of the file within the one attachment that all have.
type attachments map[string]string

// Attachment implements script.Attachments.
func (a attachments) Attachment(context.Context, automation.Call, string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range a {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

var ann = access.With(context.Background(), access.Principal{Name: "ann"})

const role = "arn:aws:iam::123456789012:role/runbooks"

// steps is what ran, as name=status.
func steps(x *automation.Execution) string {
	var out []string
	for _, s := range x.Steps {
		out = append(out, s.Name+"="+string(s.Status))
	}
	return strings.Join(out, " ")
}

// story is a runbook with the world it meets, and what comes of it.
type story struct {
	runbook, how string
	params       map[string][]string
	files        attachments // when its code is an attachment
	world        func(a *aws)
	approvers    []string // who approves, one after the other, when it waits for them; "!name" rejects
	status       automation.Status
	steps        string            // what ran
	order        string            // the calls that changed something, of actions and of scripts
	scripts      int               // how many scripts ran
	children     int               // how many executions it started
	outputs      map[string]string // of the document, as JSON
	check        func(t *testing.T, a *aws, x *automation.Execution)
}

// tell runs a story to its end.
func (row *story) tell(t *testing.T, docs automation.Documents) {
	p := scripts(t)
	a := newAWS()
	sock := filepath.Join(p.dir, strconv.FormatInt(p.n.Add(1), 10))
	a.listen(t, sock)
	rt := runtime{script.NewLocal(p.iso, nil), a}
	synctest.Test(t, func(t *testing.T) {
		a.tick()
		if row.world != nil {
			row.world(a)
		}
		sys := automation.System{AccountID: "123456789012", Region: "eu-west-1"}
		actions := api.Actions(a, nil)
		actions["aws:runCommand"] = automation.Action{Run: a.runCommand}
		actions["aws:executeScript"] = script.New(rt, &script.Options{System: sys, Attachments: row.files, Limits: script.Limits{Time: time.Hour},
			Env: func(context.Context, automation.Call) (map[string]string, error) {
				return map[string]string{"PYTHONPATH": filepath.Join(p.dir, "python"), "SMALL_AWS": sock}, nil
			}})
		st := memstore.New()
		leases := lease.New(st, nil, lease.Config{Owner: "one"})
		s, err := automation.NewService(automation.Config{Store: st, Documents: docs, Authorizer: access.AllowAll{}, Leases: leases, Actions: actions, System: sys,
			Limits: automation.Limits{MissingOutputs: true}})
		require.NoError(t, err)
		a.watch(s)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
		wg.Go(func() { s.Run(ctx) })      //nolint:errcheck // likewise
		defer wg.Wait()
		defer cancel()

		id, err := s.Start(ann, automation.Request{DocumentName: row.runbook, Parameters: row.params})
		require.NoError(t, err)
		for _, who := range row.approvers {
			var x *automation.Execution
			for x == nil || x.Status != automation.Waiting && !x.Status.Done() {
				time.Sleep(10 * time.Minute)
				x, _, err = s.Get(ann, id)
				require.NoError(t, err)
			}
			require.Equal(t, automation.Waiting, x.Status, "it waits for an approval: %s %+v", steps(x), x.Failure)
			kind := automation.Approve
			if name, rejects := strings.CutPrefix(who, "!"); rejects {
				kind, who = automation.Reject, name
			}
			require.NoError(t, s.Signal(access.With(context.Background(), access.Principal{Name: who}), id, automation.Signal{Type: kind}))
		}
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, rec := range x.Steps {
			if rec.Failure != nil {
				t.Logf("%s: %s %v", rec.Name, rec.Failure.Message, rec.Failure.Details)
			}
		}
		require.Equal(t, row.steps, steps(x), "%+v", x.Failure)
		require.Equal(t, row.status, x.Status)
		if row.order != anyOrder {
			require.Equal(t, row.order, a.order())
		}
		require.Equal(t, row.scripts, a.scripts, "scripts that ran")
		for name, want := range row.outputs {
			require.Contains(t, x.Outputs, name)
			require.JSONEq(t, want, text(x.Outputs[name]), name)
		}
		if row.check != nil {
			row.check(t, a, x)
		}
		_, _, err = s.History(ann, id)
		require.NoError(t, err, "the history is not what was decided")
		children := 0
		for _, rec := range x.Steps {
			if rec.Fan != nil {
				for _, g := range rec.Fan.Groups {
					children += len(g.Items)
				}
			}
		}
		require.Equal(t, row.children, children, "executions that it started")
		time.Sleep(time.Minute) // what a pattern of a parameter was matched with counts its own time, and ends it then
	})
}
