package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// note is what is kept beside an execution, written before it is started: what it needs to go on in another process.
type note struct {
	Document   string    `json:"document"`             // its name
	Folder     string    `json:"folder"`               // where it lies, and what it starts
	File       string    `json:"file"`                 //
	Fake       string    `json:"fake,omitempty"`       // what operations answer
	Fleet      bool      `json:"fleet,omitempty"`      // aws:runCommand has the small fleet
	Created    time.Time `json:"created"`              //
	ForkedFrom string    `json:"forkedFrom,omitempty"` //
}

// desk is the store of one execution with its children and forks, and the service over it.
type desk struct {
	*automation.Service
	dir    string // all executions
	home   string // this one
	note   note
	fakes  *fakes
	store  *boltstore.Store
	leases *lease.Leases
	fleet  *fleet
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// newID makes an id for an execution, and a source of random numbers from which the service makes the same: the folder is there before the execution is.
func newID() (id string, source io.Reader, err error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", nil, err
	}
	source = &onceFirst{first: bytes.Clone(b[:])}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), source, nil
}

// onceFirst gives its bytes to the first reader, and random ones to all others.
type onceFirst struct {
	mu    sync.Mutex
	first []byte
}

func (o *onceFirst) Read(p []byte) (int, error) {
	o.mu.Lock()
	n := copy(p, o.first)
	o.first = o.first[n:]
	o.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	return rand.Read(p)
}

// folders returns the folders of executions whose ids begin so.
func folders(dir, prefix string) (out []string, err error) {
	list, err := os.ReadDir(filepath.Join(dir, "executions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range list {
		if e.IsDir() && strings.HasPrefix(e.Name(), strings.ToLower(prefix)) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// find returns the execution that is meant by the beginning of an id.
func find(dir, prefix string) (string, error) {
	found, err := folders(dir, prefix)
	switch {
	case err != nil:
		return "", err
	case prefix == "" || len(found) == 0:
		return "", fault.New("runbook", automation.ExecutionNotFound, "there is no execution %q in %s: see list", fault.Clean(prefix), dir)
	case len(found) > 1:
		return "", bad("%q is the beginning of %d ids: give more of it", fault.Clean(prefix), len(found))
	}
	return found[0], nil
}

// make makes the folder of a new execution.
func (n note) make(dir, id string) error {
	home := filepath.Join(dir, "executions", id)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, "note.json"), append(b, '\n'), 0o600)
}

func readNote(dir, id string) (n note, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "executions", id, "note.json"))
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	return n, err
}

// open opens the store of an execution; source is nil but for a new one. Nothing runs until work.
func open(ctx context.Context, dir, id string, source io.Reader, wait time.Duration) (d *desk, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	d = &desk{dir: dir, home: filepath.Join(dir, "executions", id), stop: func() {}}
	if d.note, err = readNote(dir, id); err != nil {
		return nil, err
	}
	if d.note.Fake != "" {
		if d.fakes, err = readFakes(d.note.Fake); err != nil {
			return nil, err
		}
	}
	if d.store, err = boltstore.Open(ctx, filepath.Join(d.home, "store.db"), &boltstore.Options{LockWait: wait}); err != nil {
		return nil, err
	}
	d.leases = lease.New(d.store, nil, lease.Config{Owner: "runbook", Exclusive: true})
	scripts := script.New(script.NewLocal(&script.Namespace{Protect: []string{dir}}, nil), &script.Options{Attachments: beside(d.note.Folder)})
	limits := automation.Limits{}
	if d.fakes != nil {
		limits.Poll = 200 * time.Millisecond
	}
	d.Service, err = automation.NewService(automation.Config{Store: d.store, Documents: shelf{d.note}, Authorizer: access.AllowAll{}, Leases: d.leases, Actions: d.actions(scripts), Rand: source,
		Limits: limits, System: automation.System{AccountID: "111122223333", Region: "us-east-1"}})
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// work lets executions run.
func (d *desk) work(ctx context.Context, w io.Writer) (err error) {
	if d.note.Fleet {
		if d.fleet, err = openFleet(ctx, d.dir, w); err != nil {
			return err
		}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.wg.Go(func() { d.leases.Run(run) }) //nolint:errcheck // it ends with run
	d.wg.Go(func() { d.Run(run) })        //nolint:errcheck // likewise
	return nil
}

// close ends the work, which goes on when somebody opens it again.
func (d *desk) close() {
	d.stop()
	d.wg.Wait()
	if d.fleet != nil {
		d.fleet.close()
	}
	if d.store != nil {
		d.store.Close() //nolint:errcheck // what was acknowledged is on the disk
	}
}

// shelf finds runbooks: the one that runs, and those that lie beside it.
type shelf struct{ note note }

// Fetch implements automation.Documents.
func (s shelf) Fetch(_ context.Context, _, name, version string) (content []byte, format, resolved, hash string, err error) {
	absent := fault.New("runbook", fault.DoesNotExist, "there is no runbook %s in %s", fault.Clean(name), s.note.Folder)
	if version != "" && version != "1" && !strings.HasPrefix(version, "$") {
		return nil, "", "", "", absent
	}
	if s.note.File == "" { // the one that comes with this program
		if name != s.note.Document {
			return nil, "", "", "", absent
		}
		return demoText, "", "1", "", nil
	}
	if name == s.note.Document {
		content, err = os.ReadFile(s.note.File)
		return content, "", "1", "", err
	}
	if name != filepath.Base(name) {
		return nil, "", "", "", absent
	}
	for _, ext := range []string{".yaml", ".yml", ".json"} {
		if content, err = os.ReadFile(filepath.Join(s.note.Folder, name+ext)); err == nil {
			return content, "", "1", "", nil
		}
	}
	return nil, "", "", "", absent
}

// beside finds the attachments of runbooks: files that lie beside them.
type beside string

// Attachment implements script.Attachments.
func (b beside) Attachment(_ context.Context, _ automation.Call, name string) ([]byte, error) {
	if name == "" || name != filepath.Base(name) {
		return nil, fault.New("runbook", fault.DoesNotExist, "there is no attachment %q beside the runbook", fault.Clean(name))
	}
	return os.ReadFile(filepath.Join(string(b), name))
}

// as is the context of somebody.
func as(ctx context.Context, name string) context.Context {
	if name == "" {
		name = "operator"
	}
	return access.With(ctx, access.Principal{Name: name})
}

// short is enough of an id for people.
func short(id string) string { return fmt.Sprintf("%.8s", id) }
