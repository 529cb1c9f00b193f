package audit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// ActionList is the action that List asks for; the name is that of the AWS service which does this.
const ActionList = "cloudtrail:LookupEvents"

// Filter selects entries. Empty fields select all; the given ones must all hold, exactly.
type Filter struct {
	After, Before    time.Time // of the entry's time; After inclusive, Before exclusive
	Principal        string
	Action, Resource string
	Outcome          Outcome
	ID               string // an entry that has this among the values of IDs
}

func (f Filter) match(e Entry) bool {
	switch {
	case !f.After.IsZero() && e.Time.Before(f.After), !f.Before.IsZero() && !e.Time.Before(f.Before),
		f.Principal != "" && e.Principal != f.Principal, f.Action != "" && e.Action != f.Action,
		f.Resource != "" && e.Resource != f.Resource, f.Outcome != "" && e.Outcome != f.Outcome:
		return false
	}
	if f.ID == "" {
		return true
	}
	for _, v := range e.IDs {
		if v == f.ID {
			return true
		}
	}
	return false
}

// Page asks for a part of a list. nil is the first 50.
type Page struct {
	MaxResults int    // 1 to 1,000; 0 is 50
	NextToken  string // of the result before
}

// listBudget is how many entries one List looks at, listBatch how many it reads at once of each chain.
const (
	listBudget = 5000
	listBatch  = 128
)

// place is where in its chain the next older entry lies: before entry N of Segment.
type place struct {
	Segment uint64 `json:"s"`
	N       uint64 `json:"n"`
}

type token struct {
	Filter []byte           `json:"f"`
	Places map[string]place `json:"p"` // by writer; writers that came later are not shown
}

// List returns entries of the caller's tenant, newest first. Like AWS's lists it may return fewer than MaxResults, even none, with a token to go on with; the list is
// over when the token is empty. Writers' entries are merged by their time; within one writer the order is that of writing.
func (l *Log) List(ctx context.Context, f Filter, p *Page) (out []Entry, next string, err error) {
	if err := access.Check(ctx, l.cfg.Authorize, ActionList, "*", nil); err != nil {
		return nil, "", err
	}
	if p == nil {
		p = &Page{}
	}
	limit := p.MaxResults
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > 1000 {
		return nil, "", fault.New("audit.List", fault.Validation, "MaxResults is %d: give 1 to 1000", limit)
	}
	fj, _ := json.Marshal(f)
	fh := sha256.Sum256(fj)
	tok := token{Filter: fh[:8]}
	if p.NextToken != "" {
		if tok, err = readToken(p.NextToken, fh[:8]); err != nil {
			return nil, "", err
		}
	}
	tenant, more := access.Tenant(ctx), false
	err = l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, more = nil, false
		if tok.Places == nil {
			ws, err := l.writers(ctx, r, tenant)
			if err != nil {
				return err
			}
			tok.Places = map[string]place{}
			for _, w := range ws {
				tok.Places[w] = place{^uint64(0), 0}
			}
		}
		var cs []*backwards
		for w, at := range tok.Places {
			cs = append(cs, &backwards{l: l, c: chainID{tenant, w}, at: at})
		}
		for seen := 0; ; seen++ {
			var newest *backwards
			for _, c := range cs {
				if err := c.load(ctx, r); err != nil {
					return err
				}
				if len(c.buf) > 0 && (newest == nil || c.buf[0].Time.After(newest.buf[0].Time) || c.buf[0].Time.Equal(newest.buf[0].Time) && c.c.writer > newest.c.writer) {
					newest = c
				}
			}
			if newest == nil {
				return nil
			}
			if seen >= listBudget || len(out) >= limit {
				more = true
				return nil
			}
			e := newest.buf[0]
			newest.buf, newest.at = newest.buf[1:], place{e.Segment, e.N}
			tok.Places[newest.c.writer] = newest.at
			if f.match(e) {
				out = append(out, e)
			}
		}
	})
	if err != nil {
		return nil, "", fault.Wrap("audit.List", err)
	}
	if more {
		b, _ := json.Marshal(tok)
		next = base64.RawURLEncoding.EncodeToString(b)
	}
	return out, next, nil
}

func readToken(s string, filter []byte) (tok token, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &tok)
	}
	if err != nil || string(tok.Filter) != string(filter) || len(tok.Places) == 0 || len(tok.Places) > 1000 {
		return token{}, fault.New("audit.List", fault.InvalidNextToken, "the token is not one of this list with this filter: begin again without it")
	}
	return tok, nil
}

// backwards reads a chain from its end, a batch at a time.
type backwards struct {
	l    *Log
	c    chainID
	at   place
	buf  []Entry
	done bool
}

func (b *backwards) load(ctx context.Context, r store.Reader) error {
	if len(b.buf) > 0 || b.done {
		return nil
	}
	rng := entries(b.c).Range()
	rng.End, rng.Reverse, rng.Limit = entryKey(b.c, b.at.Segment, b.at.N), true, listBatch
	for e, err := range b.l.t.entries.Scan(ctx, r, rng) {
		if err != nil {
			return err
		}
		b.buf = append(b.buf, e.Value)
	}
	b.done = len(b.buf) < listBatch
	return nil
}
