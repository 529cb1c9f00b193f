package library_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// call is a call on one document: create, update, default (of version n), delete, get (of the newest one).
type call struct {
	name, op, word string
	n              uint64
}

type reply struct {
	code fault.Code
	n    uint64 // of the version that was made or got
	word string // of get
}

// shelf is a document: no versions, or the newest, its content, and the default one.
type shelf struct {
	n, def uint64
	word   string
}

// unclear says that the answer leaves open whether the call took effect; refused that it did not.
func unclear(c fault.Code) bool {
	return c == fault.OutcomeUnknown || c == fault.RequestCanceled
}

func refused(c fault.Code) bool {
	return c == fault.ServiceUnavailable || c == fault.Throttling || c == fault.InternalServerError
}

// shelves is the sequential specification of one document: versions are 1, 2, 3 … without gaps, whatever failed in between.
var shelves = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			by[o.Input.(call).name] = append(by[o.Input.(call).name], o)
		}
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() []any { return []any{shelf{}} },
	Step: func(s, i, o any) []any {
		was, in, out := s.(shelf), i.(call), o.(reply)
		next, want := was, reply{}
		switch {
		case in.op == "create" && was.n > 0:
			want.code = fault.DocumentAlreadyExists
		case in.op == "create":
			next, want = shelf{1, 1, in.word}, reply{n: 1}
		case was.n == 0:
			want.code = fault.InvalidDocument
		case in.op == "update":
			next, want = shelf{was.n + 1, was.def, in.word}, reply{n: was.n + 1}
		case in.op == "default" && in.n > was.n:
			want.code = fault.InvalidDocumentVersion
		case in.op == "default":
			next, want = shelf{was.n, in.n, was.word}, reply{n: in.n}
		case in.op == "delete":
			next = shelf{}
		case in.op == "get":
			want = reply{n: was.n, word: was.word}
		}
		switch {
		case refused(out.code):
			return []any{was}
		case unclear(out.code):
			return []any{was, next}
		case out == want:
			return []any{next}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
}

// shaky is a store whose commits fail now and then, with and without effect, known and unknown.
type shaky struct {
	store.Store
	mu  sync.Mutex
	rng *rand.Rand
	gap bool // a bug of ours: an update that is told to have failed was made
}

func (u *shaky) draw() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rng.IntN(20)
}

func (u *shaky) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	fate := u.draw()
	switch {
	case fate == 0 && u.gap, fate == 1:
		if err := u.Store.Update(ctx, fn); err != nil {
			return err
		}
		if fate == 0 {
			return store.ErrConflict
		}
		return store.ErrCommitUnknown
	case fate == 0:
		return store.ErrConflict
	case fate == 2:
		return u.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return store.ErrCommitUnknown
		})
	}
	return u.Store.Update(ctx, fn)
}

func (c call) do(s *library.Service) (r reply) {
	var err error
	version := ""
	switch c.op {
	case "create":
		var out library.CreateDocumentResult
		out, err = s.CreateDocument(ann, library.CreateDocumentRequest{Name: c.name, Content: text(c.word)})
		version = out.DocumentDescription.DocumentVersion
	case "update":
		var out library.UpdateDocumentResult
		out, err = s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: c.name, DocumentVersion: "$LATEST", Content: text(c.word)})
		version = out.DocumentDescription.DocumentVersion
	case "default":
		var out library.UpdateDocumentDefaultVersionResult
		out, err = s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: c.name, DocumentVersion: fmt.Sprint(c.n)})
		version = out.Description.DefaultVersion
	case "delete":
		_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: c.name})
	case "get":
		var out library.GetDocumentResult
		out, err = s.GetDocument(ann, library.GetDocumentRequest{Name: c.name, DocumentVersion: "$LATEST"})
		version = out.DocumentVersion
		_, rest, _ := strings.Cut(out.Content, "says ")
		r.word, _, _ = strings.Cut(rest, `"`)
	}
	if r.code = fault.CodeOf(err); err == nil && version != "" {
		r.n, _ = strconv.ParseUint(version, 10, 64)
	}
	return r
}

// write lets callers of two services over one store change few documents at once, and returns what each was answered.
func write(round uint64, gap bool) []porcupine.Operation {
	st := &shaky{Store: memstore.New(), rng: rand.New(rand.NewPCG(round, 11)), gap: gap}
	var planes []*library.Service
	for range 2 {
		planes = append(planes, library.New(library.Config{Store: st, Authorizer: access.AllowAll{}, Now: time.Now}))
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	start := time.Now()
	for client := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(round, uint64(client)))
			for n := range 15 {
				c := call{name: fmt.Sprint("doc-", rng.IntN(2)), op: []string{"create", "create", "create", "update", "update", "update", "update", "get", "get", "default", "default", "delete"}[rng.IntN(12)]}
				switch c.op {
				case "create", "update":
					c.word = fmt.Sprintf("w%d-%d", client, n)
				case "default":
					c.n = 1 + uint64(rng.IntN(3))
				}
				from := time.Since(start)
				got := c.do(planes[client%2])
				to := time.Since(start)
				if unclear(got.code) {
					to = time.Hour // it may take effect at any time after
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: c, Call: int64(from), Output: got, Return: int64(to)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

// TestVersionsAreLinearizable: some order explains every answer, in which versions have no gaps. FLEETWRIGHT_HISTORIES plays more.
func TestVersionsAreLinearizable(t *testing.T) {
	n := testenv.Count(t, "FLEETWRIGHT_HISTORIES", 40)
	model, total, codes := shelves.ToModel(), 0, map[fault.Code]int{}
	for round := range n {
		history := write(uint64(round), false)
		total += len(history)
		for _, o := range history {
			codes[o.Output.(reply).code]++
		}
		if got := porcupine.CheckOperationsTimeout(model, history, 20*time.Second); got != porcupine.Ok {
			for _, o := range history {
				t.Logf("%d-%d %+v: %+v", o.Call/1000, o.Return/1000, o.Input, o.Output)
			}
			require.Equal(t, porcupine.Ok, got, "history %d", round)
		}
	}
	t.Logf("%d histories, %d calls, answers %v", n, total, codes)
	require.NotZero(t, codes[fault.ServiceUnavailable])
	testenv.Figure(t, "linearizable histories of document versions", n, 0)
}

// TestVersionsAreLinearizableBites: a change that was made and is told not to have been is found out.
func TestVersionsAreLinearizableBites(t *testing.T) {
	model := shelves.ToModel()
	for round := range uint64(100) {
		if porcupine.CheckOperationsTimeout(model, write(round, true), 20*time.Second) == porcupine.Illegal {
			t.Logf("found in history %d", round)
			return
		}
	}
	require.Fail(t, "versions that nobody was told of were not found")
}
