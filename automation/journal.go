package automation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
)

// head is what lists show of an execution, and where its history stands.
type head struct {
	ID        string    `json:"id"`
	Document  string    `json:"document"`
	Version   string    `json:"version,omitempty"`
	Hash      string    `json:"hash"`   // of the document
	Source    int       `json:"source"` // pieces of its text, which is kept with the execution
	Status    Status    `json:"status"`
	Mode      Mode      `json:"mode"`
	StartedBy string    `json:"startedBy,omitempty"`
	Parent    string    `json:"parent,omitempty"`
	Created   time.Time `json:"created"`
	Start     time.Time `json:"start,omitzero"`
	End       time.Time `json:"end,omitzero"`
	Step      string    `json:"step,omitempty"` // at work
	Failure   string    `json:"failure,omitempty"`
	Fan       bool      `json:"fan,omitempty"`
	Action    string    `json:"action,omitempty"` // at work
	Tags      []string  `json:"tags,omitempty"`   // their keys
	Group     string    `json:"group,omitempty"`  // the resource group that is the target
	Cross     bool      `json:"cross,omitempty"`  // it has TargetLocations

	Seq    uint64 `json:"seq"`            // entries of the history
	Chain  string `json:"chain"`          // hash of the last one
	Snap   uint64 `json:"snap"`           // the entry that the snapshot stands behind
	Form   int    `json:"form,omitempty"` // of the records, when it is not the first one
	Pieces int    `json:"pieces"`         // of the snapshot
	First  int    `json:"first"`          // pieces of the state before the first entry
}

// logged is an entry of a history. The hash covers the entry and the hash before it, so that no entry can be changed, taken out or moved unseen.
type logged struct {
	Entry  string `json:"entry,omitempty"`
	Hash   string `json:"hash"`
	Pieces int    `json:"pieces,omitempty"` // into which a large entry was cut; Entry is empty then
}

func entryName(seq uint64) string { return "entry-" + strconv.FormatUint(seq, 10) }

// piece is a part of a stored state: values of a store are bounded.
type piece struct {
	Data []byte `json:"data"`
}

const (
	pieceSize    = 120 << 10
	mostSnapshot = 3 << 20 // what is larger would not fit into a transaction with the rest
)

// letter is an event that somebody else than the owner has for an execution.
type letter struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
	Event  string `json:"event"`
	Fetch  bool   `json:"fetch,omitempty"` // the outputs of a child are too large for a letter: they are read from it
}

// mostLetter is how many bytes of outputs a child sends in its letter.
const mostLetter = 64 << 10

// token remembers which execution a client token started (A18).
type token struct {
	Execution string `json:"execution"`
	Digest    string `json:"digest"`
}

func chain(before, entry string) string {
	h := sha256.Sum256([]byte(before + "\n" + entry))
	return hex.EncodeToString(h[:])
}

// put writes something large in pieces and returns how many.
func (s *Service) put(tx store.Tx, tenant, id, which string, b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(pieceSize, len(b))]
		if err := s.pieces.Put(tx, pieceKey(tenant, id, which, n), piece{part}); err != nil {
			return 0, err
		}
		b = b[len(part):]
		n++
	}
	return n, nil
}

func (s *Service) get(ctx context.Context, r store.Reader, tenant, id, which string, n int) ([]byte, error) {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = pieceKey(tenant, id, which, i)
	}
	parts, err := s.pieces.GetMany(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, p := range parts {
		if p == nil {
			return nil, fault.New("automation.Load", fault.DataCorrupt, "a part of what was stored of an execution is missing")
		}
		b = append(b, p.Data...)
	}
	return b, nil
}

// live is an execution in memory.
type live struct {
	tenant string
	head   head
	rb     *Runbook
	x      *Execution
}

// entries reads the history after an entry, and checks its chain from there on.
func (s *Service) entries(ctx context.Context, r store.Reader, tenant, id string, after uint64, before string) (out []Entry, last string, err error) {
	rng := logKey(tenant, id).Range()
	if after > 0 {
		rng = logKey(tenant, id).After(logKey(tenant, id).Uint(after))
	}
	for rec, err := range s.logs.Scan(ctx, r, rng) {
		if err != nil {
			return nil, "", err
		}
		seq := after + uint64(len(out)) + 1
		text := rec.Value.Entry
		if rec.Value.Pieces > 0 {
			b, err := s.get(ctx, r, tenant, id, entryName(seq), rec.Value.Pieces)
			if err != nil {
				return nil, "", err
			}
			text = string(b)
		}
		if before != "" || after == 0 {
			if chain(before, text) != rec.Value.Hash {
				return nil, "", fault.New("automation.History", fault.DataCorrupt, "entry %d of the history was changed", seq)
			}
		}
		before = rec.Value.Hash
		e, err := readEntry(text)
		if err != nil {
			return nil, "", err
		}
		out = append(out, e)
	}
	return out, before, nil
}

func readEntry(s string) (e Entry, err error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		return e, fault.New("automation.History", fault.DataCorrupt, "an entry of the history cannot be read")
	}
	return e, nil
}

func readEvent(s string) (e Event, err error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		return e, fault.New("automation.Inbox", fault.DataCorrupt, "an event cannot be read")
	}
	return e, nil
}

// load reads an execution: the snapshot, and the entries behind it applied again.
func (s *Service) load(ctx context.Context, tenant, id string) (*live, error) {
	const op = "automation.Load"
	l := &live{tenant: tenant}
	var text, state []byte
	var tail []Entry
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		f, err := s.forms.Get(ctx, r, headKey(tenant, id))
		if errors.Is(err, store.ErrNotFound) {
			return absent(op, id)
		} else if err != nil {
			return err
		}
		if f.Form > s.cfg.form {
			return newer(id)
		}
		h, err := s.heads.Get(ctx, r, headKey(tenant, id))
		if err != nil {
			return err
		}
		l.head = h
		if text, err = s.get(ctx, r, tenant, id, "document", h.Source); err != nil {
			return err
		}
		which, n := "last", h.Pieces
		if n == 0 {
			which, n = "first", h.First
		}
		if state, err = s.get(ctx, r, tenant, id, which, n); err != nil {
			return err
		}
		before := ""
		if h.Snap > 0 {
			at, err := s.logs.Get(ctx, r, logKey(tenant, id).Uint(h.Snap))
			if errors.Is(err, store.ErrNotFound) {
				return fault.New(op, fault.DataCorrupt, "the history of execution %s is not complete", id)
			} else if err != nil {
				return err
			}
			before = at.Hash
		}
		var last string
		if tail, last, err = s.entries(ctx, r, tenant, id, h.Snap, before); err != nil {
			return err
		}
		if last != h.Chain || h.Snap+uint64(len(tail)) != h.Seq {
			return fault.New(op, fault.DataCorrupt, "the history of execution %s is not complete", id)
		}
		return nil
	})
	if err != nil {
		return nil, storeFault(op, err)
	}
	if l.rb, err = s.book(l.head.Hash, text); err != nil { // it was accepted by a release that could read it
		return nil, fault.New(op, fault.UnsupportedOperation, "the document of execution %s cannot be read by this release (%s): ask a control plane of a newer one: %w", id, fault.MessageOf(err), errNewer)
	}
	if l.x, err = Decode(state); err != nil {
		return nil, err
	}
	return l, l.rb.Replay(l.x, tail)
}

// book makes a document ready once for all its executions.
func (s *Service) book(hash string, text []byte) (*Runbook, error) {
	s.mu.Lock()
	rb := s.books[hash]
	s.mu.Unlock()
	if rb != nil {
		return rb, nil
	}
	rb, err := ParseRunbook(text, &document.Options{MaxSize: -1, Actions: s.cfg.Known, Kind: document.Automation})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if len(s.books) > 1000 {
		clear(s.books)
	}
	s.books[hash] = rb
	s.mu.Unlock()
	return rb, nil
}

// shown updates what lists show.
func (h *head) shown(x *Execution) {
	h.Status, h.Start, h.End = x.Status, x.Start, x.End
	h.Step, h.Action, h.Failure = x.NextStep, "", ""
	if x.Current >= 0 {
		h.Step, h.Action = x.Steps[x.Current].Name, x.Steps[x.Current].Action
	}
	if x.Failure != nil {
		h.Failure = clipTo(x.Failure.Message, 4000)
	}
}

// happened are the events that tell of what an entry changed: executions and steps, one each time that a status changed.
func happened(l *live, before []Status, was Status, now time.Time) (out []feed.Event) {
	add := func(kind string, v any) {
		if b, err := encode(v); err == nil && len(b) < feed.MaxData {
			out = append(out, feed.Event{Time: now, Kind: kind, Data: b})
		}
	}
	type stepEvent struct {
		ID      string `json:"stepExecutionId"`
		Name    string `json:"stepName"`
		Action  string `json:"action"`
		Status  Status `json:"status"`
		Attempt int    `json:"attempt"`
		Message string `json:"message,omitempty"`
	}
	for i := range l.x.Steps {
		st := &l.x.Steps[i]
		if i < len(before) && before[i] == st.Status {
			continue
		}
		ev := stepEvent{ID: st.ID, Name: st.Name, Action: st.Action, Status: st.Status, Attempt: st.Attempt}
		if st.Failure != nil {
			ev.Message = st.Failure.Message
		}
		add("Step"+string(st.Status), ev)
	}
	if l.x.Status != was {
		add("Execution"+string(l.x.Status), struct {
			ID     string `json:"executionId"`
			Status Status `json:"status"`
		}{l.x.ID, l.x.Status})
	}
	return out
}

// changed is what an entry began and ended.
func changed(l *live, before []Status, was Status) (out []Changed) {
	x := l.x
	c := Changed{Tenant: l.tenant, Execution: x.ID, Document: x.Document}
	if was == Pending && was != x.Status && !x.Start.IsZero() {
		c.Status, c.Start, c.End = InProgress, x.Start, x.Start
		out = append(out, c)
	}
	for i := range x.Steps {
		if st := &x.Steps[i]; st.Status.Done() && (i >= len(before) || !before[i].Done()) {
			own := st.clone()
			c.Step, c.Status, c.Start, c.End = &own, st.Status, st.Start, st.End
			out = append(out, c)
		}
	}
	if c.Step = nil; x.Status.Done() && !was.Done() {
		c.Status, c.Start, c.End = x.Status, x.Start, x.End
		if c.Start.IsZero() { // it ended before it began
			c.Start = x.End
		}
		out = append(out, c)
	}
	return out
}

// change is an event that was applied in memory, to be made durable.
type change struct {
	job
	l       *live
	head    head
	entry   string
	state   []byte // of a snapshot
	events  []feed.Event
	effects []Effect
	ended   bool
	changed []Changed // for Config.Observe
}

// prepare applies an event in memory. The execution must be loaded again when the change is not committed.
func (s *Service) prepare(l *live, j job) (*change, error) {
	x := l.x
	now := s.cfg.Now()
	if n := len(x.Steps); n > 0 && now.Before(x.Steps[n-1].Start) {
		now = x.Steps[n-1].Start // a clock that was put back does not turn the history round
	}
	was := x.Status
	before := make([]Status, len(x.Steps))
	for i := range x.Steps {
		before[i] = x.Steps[i].Status
	}
	entry, out, _ := l.rb.Record(x, j.ev, now)
	b, err := encode(entry)
	if err != nil {
		return nil, err
	}
	c := &change{job: j, l: l, head: l.head, entry: string(b), effects: out, ended: x.Status.Done() && !was.Done()}
	c.head.shown(x)
	c.head.Seq++
	c.head.Form = max(c.head.Form, stamp(s.cfg.form))
	c.head.Chain = chain(l.head.Chain, c.entry)
	if x.Status.Done() || (c.head.Seq-c.head.Snap)%uint64(s.cfg.Snapshot) == 0 {
		if c.state, err = x.Encode(); err != nil {
			return nil, err
		}
		if len(c.state) > mostSnapshot { // the history alone will do
			c.state = nil
		} else {
			c.head.Snap, c.head.Pieces = c.head.Seq, (len(c.state)+pieceSize-1)/pieceSize
		}
	}
	c.events = happened(l, before, was, now)
	if s.cfg.Observe != nil {
		c.changed = changed(l, before, was)
	}
	return c, nil
}

// write makes a change durable: history, state, what lists show, what followers hear and what others are to be told. An event of the inbox is taken out of it with that.
func (s *Service) write(ctx context.Context, tx store.Tx, c *change) error {
	x, tenant := c.l.x, c.l.tenant
	entry := logged{Entry: c.entry, Hash: c.head.Chain}
	if len(c.entry) > pieceSize/2 { // as text it may grow to twice its size
		var err error
		if entry.Pieces, err = s.put(tx, tenant, x.ID, entryName(c.head.Seq), []byte(c.entry)); err != nil {
			return err
		}
		entry.Entry = ""
	}
	if err := s.logs.Put(tx, logKey(tenant, x.ID).Uint(c.head.Seq), entry); err != nil {
		return err
	}
	if c.state != nil {
		if _, err := s.put(tx, tenant, x.ID, "last", c.state); err != nil {
			return err
		}
	}
	if err := s.heads.Put(tx, headKey(tenant, x.ID), c.head); err != nil {
		return err
	}
	if len(c.events) > 0 {
		if _, err := s.feed.Append(ctx, tx, topic(tenant, x.ID), c.events...); err != nil {
			return err
		}
	}
	if c.letter != nil {
		if err := tx.Delete(c.letter); err != nil {
			return err
		}
	}
	if !c.ended {
		return nil
	}
	if err := tx.Delete(activeKey(shardOf(tenant, x.ID)).Str(tenant).Str(x.ID)); err != nil {
		return err
	}
	if x.Parent == "" {
		return nil
	}
	end := ChildEnd{StepID: x.ParentStep, ID: x.ID, Status: x.Status, Outputs: c.l.rb.OutputList(x), Failure: x.Failure}
	size := 0
	for _, o := range end.Outputs {
		size += len(o)
	}
	if fetch := size > mostLetter; fetch {
		end.Outputs = nil
		return s.post(tx, tenant, x.Parent, "end-"+x.ID, Event{Child: &end}, fetch)
	}
	return s.send(tx, tenant, x.Parent, "end-"+x.ID, Event{Child: &end})
}

// commit makes changes of different executions durable in one transaction that proves the ownership.
func (s *Service) commit(ctx context.Context, held lease.Held, changes []*change) error {
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		for _, c := range changes {
			if err := s.write(ctx, tx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// send leaves an event for the owner of an execution. The name makes it one letter however often it is sent.
func (s *Service) send(tx store.Tx, tenant, id, name string, ev Event) error {
	return s.post(tx, tenant, id, name, ev, false)
}

func (s *Service) post(tx store.Tx, tenant, id, name string, ev Event, fetch bool) error {
	b, err := encode(ev)
	if err != nil {
		return err
	}
	return s.inbox.Put(tx, inboxKey(shardOf(tenant, id)).Str(tenant).Str(id).Str(name), letter{tenant, id, string(b), fetch})
}

// fetched completes an event whose child has outputs that are too large for a letter.
func (s *Service) fetched(ctx context.Context, m letter, ev *Event) error {
	if !m.Fetch || ev.Child == nil {
		return nil
	}
	l, err := s.load(ctx, m.Tenant, ev.Child.ID)
	if fault.CodeOf(err) == ExecutionNotFound || fault.KindOf(err) == fault.Corrupt {
		return nil // it is gone: its end counts without
	}
	if err == nil {
		ev.Child.Outputs = l.rb.OutputList(l.x)
	}
	return err
}

func absent(op, id string) error {
	return fault.New(op, ExecutionNotFound, "there is no execution %s", fault.Clean(clip(id))).About(clip(id))
}

// storeFault gives an error of the store a code; others keep theirs.
func storeFault(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrCommitUnknown):
		return fault.New(op, fault.OutcomeUnknown, "the store did not say whether the change was made; look before you repeat it: %w", err)
	case errors.Is(err, store.ErrReadOnly):
		return fault.New(op, fault.ServiceUnavailable, "the store takes no changes at present; free its disk, then try again: %w", err)
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(op, err)
}
