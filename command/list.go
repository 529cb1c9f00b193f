package command

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// ListRequest selects commands or invocations (AWS: ListCommands, ListCommandInvocations). Empty fields select everything.
type ListRequest struct {
	Command       string // one command; required for Invocations
	Node          string // those sent to this node
	DocumentName  string
	Status        message.Status // TimedOut covers delivery and execution (R19)
	Detail        message.Detail
	InvokedAfter  time.Time
	InvokedBefore time.Time
	Executing     bool // not ended; commands only (ExecutionStage)
	Complete      bool // ended
	Limit         int  // of a page: 1 to 50, 50 by default; invocations to 1,000
	NextToken     string
}

func (q *ListRequest) page(op string, top int) (int, error) {
	switch {
	case q.Limit == 0:
		return min(50, top), nil
	case q.Limit < 0 || q.Limit > top:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", q.Limit, top)
	}
	return q.Limit, nil
}

// A NextToken is the key after which the next page begins. It holds nothing that its list does not show, and is good for no list but its own.

func encodeToken(k []byte) string { return base64.RawURLEncoding.EncodeToString(k) }

func badToken(op string) error {
	return fault.New(op, fault.InvalidNextToken, "NextToken is not one that this list gave")
}

// after returns what the token's key has behind the prefix; nil without a token.
func (q *ListRequest) after(op string, prefix key.K) (*key.Reader, []byte, error) {
	if q.NextToken == "" {
		return nil, nil, nil
	}
	if len(q.NextToken) > 2*store.MaxKey {
		return nil, nil, badToken(op)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.NextToken)
	if err != nil || len(b) <= len(prefix) || string(b[:len(prefix)]) != string(prefix) {
		return nil, nil, badToken(op)
	}
	return key.Read(b[len(prefix):]), b, nil
}

const (
	// listScan bounds what one page of List looks at before it returns, with a NextToken, whatever it found, so that no View is long: an index entry counts one, and the
	// targets that the filter Node has to look at chunkCost.
	listScan  = 2000
	chunkCost = 16
	listBytes = 16 << 20 // of the commands' requests
)

// List returns commands, the newest first, and the token of the next page ("" at the end). A page may hold fewer than Limit, even none, and still have a next one.
// It needs ssm:ListCommands, on each command; others are left out.
func (s *Service) List(ctx context.Context, q ListRequest) (out []Command, next string, err error) {
	const op = "command.List"
	limit, err := q.page(op, 50)
	if err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	rest, after, err := q.after(op, timesKey(tenant))
	if err != nil {
		return nil, "", err
	}
	if rest != nil {
		if rest.Time(); len(rest.Str()) == 0 || rest.Err() != nil {
			return nil, "", badToken(op)
		}
	}
	if q.Command != "" {
		return s.listOne(ctx, op, q)
	}
	// Who may see each is asked outside of the View; what is left out leaves room for another look.
	denied := 0
	for looks := 0; ; looks++ {
		found, last, more, err := s.listPage(ctx, op, tenant, &q, after, limit-len(out))
		if err != nil {
			return nil, "", wrap(op, err)
		}
		for i := range found {
			if access.Check(ctx, s.cfg.Authorizer, "ssm:ListCommands", "command/"+found[i].ID, nil) != nil {
				denied++
				continue
			}
			out = append(out, found[i])
		}
		if !more || len(out) == limit || len(found) == 0 || looks == 3 {
			if more {
				next = encodeToken(last)
			}
			break
		}
		after = last
	}
	if denied > 0 && len(out) == 0 {
		s.denied(ctx, "ssm:ListCommands", "command/*", fault.New(op, fault.AccessDenied, "none of the commands may be seen"))
	}
	return out, next, nil
}

// listOne lists one command, if it is among those selected.
func (s *Service) listOne(ctx context.Context, op string, q ListRequest) ([]Command, string, error) {
	if err := s.may(ctx, op, "ssm:ListCommands", q.Command); err != nil {
		return nil, "", err
	}
	var out []Command
	tenant := access.Tenant(ctx)
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out = nil
		rec, st, err := s.read(ctx, r, op, tenant, q.Command)
		if err != nil {
			return err
		}
		ok := q.selects(&rec, &st) && (q.InvokedAfter.IsZero() || !st.RequestedAt.Before(q.InvokedAfter)) && (q.InvokedBefore.IsZero() || st.RequestedAt.Before(q.InvokedBefore))
		if ok && q.Node != "" {
			ok, err = s.isTarget(ctx, r, tenant, &rec, q.Node)
		}
		if ok && err == nil {
			out = []Command{view(&rec, &st)}
		}
		return err
	})
	return out, "", wrap(op, err)
}

// listPage returns up to limit commands after a key, the last key that it looked at, and whether there are more.
func (s *Service) listPage(ctx context.Context, op, tenant string, q *ListRequest, after []byte, limit int) (out []Command, last []byte, more bool, err error) {
	rng := timesKey(tenant).Range()
	rng.Reverse, rng.Limit = true, listScan+1
	if !q.InvokedBefore.IsZero() {
		rng.End = timesKey(tenant).Time(indexable(q.InvokedBefore))
	}
	if !q.InvokedAfter.IsZero() {
		rng.Start = timesKey(tenant).Time(indexable(q.InvokedAfter))
	}
	if after != nil && string(after) < string(rng.End) {
		rng.End = after
	}
	if string(rng.Start) >= string(rng.End) {
		return nil, nil, false, nil
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, last, more = nil, nil, false
		cost, bytes := 0, 0
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			if len(out) == limit || cost >= listScan || bytes >= listBytes {
				more = true
				return nil
			}
			k := key.Read(it.Key[len(timesKey(tenant)):])
			k.Time()
			id := k.Str()
			last = slices.Clone(it.Key)
			rec, st, err := s.read(ctx, r, op, tenant, id)
			if err != nil {
				return err
			}
			cost, bytes = cost+1, bytes+rec.bytes()
			ok := q.selects(&rec, &st)
			if ok && q.Node != "" {
				if i, may := rec.chunkOf(q.Node); !may || i == 0 && rec.Chunks == 0 {
					ok = false
				} else if ok, err = s.isTarget(ctx, r, tenant, &rec, q.Node); err != nil {
					return err
				} else {
					cost += chunkCost
				}
			}
			if ok {
				out = append(out, view(&rec, &st))
			}
		}
		return nil
	})
	return out, last, more, err
}

// bytes is about how large the record is.
func (r *record) bytes() int {
	n := 500
	for k, vs := range r.Request.Parameters {
		n += len(k)
		for _, v := range vs {
			n += len(v)
		}
	}
	return n
}

// indexable brings a time into the years that keys have.
func indexable(t time.Time) time.Time {
	switch y := t.Year(); {
	case y < 1700:
		return time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC)
	case y > 2250:
		return time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// selects applies the filters that need no further reading.
func (q *ListRequest) selects(rec *record, st *State) bool {
	d := st.Detail()
	return (q.DocumentName == "" || rec.Request.DocumentName == q.DocumentName) && (q.Status == "" || d.Status() == q.Status) && (q.Detail == "" || d == q.Detail) &&
		!(q.Executing && st.Done()) && !(q.Complete && !st.Done())
}

// wants applies the filters to an invocation.
func (q *ListRequest) wants(d message.Detail) bool {
	return (q.Status == "" || d.Status() == q.Status) && (q.Detail == "" || d == q.Detail) &&
		!(q.Executing && d.Terminal()) && !(q.Complete && !d.Terminal())
}

// filters reports whether wants may refuse any.
func (q *ListRequest) filters() bool {
	return q.Status != "" || q.Detail != "" || q.Executing || q.Complete
}

// invocationBytes bounds what one page of invocations reads.
const invocationBytes = 8 << 20

// Invocations returns a page of a command's invocations in the order of their nodes, those that had no turn yet included, with at most the first line of
// large outputs, and the token of the next page. A page may be short, even empty, and have a next one. It needs ssm:ListCommandInvocations. Error: InvalidCommandId.
func (s *Service) Invocations(ctx context.Context, q ListRequest) (out []Result, next string, err error) {
	const op = "command.Invocations"
	limit, err := q.page(op, 1000)
	if err != nil {
		return nil, "", err
	}
	if err := s.may(ctx, op, "ssm:ListCommandInvocations", q.Command); err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	prefix := invsKey(tenant, q.Command)
	token, _, err := q.after(op, prefix)
	if err != nil {
		return nil, "", err
	}
	after := ""
	if token != nil {
		if after = token.Str(); token.Err() != nil || after == "" {
			return nil, "", badToken(op)
		}
	}
	if q.Node != "" {
		r, err := s.readInvocation(ctx, op, q.Command, q.Node)
		if fault.CodeOf(err) == fault.InvocationDoesNotExist || err == nil && !q.wants(r.Detail) {
			return nil, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		return []Result{r}, "", nil
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, next = nil, ""
		rec, st, err := s.read(ctx, r, op, tenant, q.Command)
		if err != nil {
			return err
		}
		at, bytes := after, 0
		// Without a filter what is read is what is shown; with one, some more at a time, up to what one View should read.
		for looked := 0; ; {
			n := min(limit-len(out), 250)
			if q.filters() {
				n = 250
			}
			ids, more, err := s.targetsAfter(ctx, r, tenant, &rec, at, n)
			if err != nil || len(ids) == 0 {
				return err
			}
			keys := make([][]byte, len(ids))
			for i, node := range ids {
				keys[i] = prefix.Str(node)
			}
			invs, err := s.invs.GetMany(ctx, r, keys)
			if err != nil {
				return err
			}
			for i, inv := range invs {
				if inv == nil {
					v := rest(&st, ids[i])
					inv = &v
				}
				at = ids[i]
				looked++
				bytes += inv.weight()
				if q.wants(inv.Detail) {
					out = append(out, result(&rec, *inv))
				}
				if full := len(out) == limit || looked >= scanPage || bytes >= invocationBytes; full {
					if i+1 < len(ids) || more {
						next = encodeToken(keys[i])
					}
					return nil
				}
			}
			if !more {
				return nil
			}
		}
	})
	if err == nil {
		err = s.name(ctx, tenant, out)
	}
	return out, next, wrap(op, err)
}

// name fills in the names that the nodes have now. A node that is gone has none.
func (s *Service) name(ctx context.Context, tenant string, rs []Result) error {
	for part := range slices.Chunk(rs, 250) {
		ids := make([]string, len(part))
		for i := range part {
			ids[i] = part[i].Node
		}
		nodes, err := s.cfg.Nodes.Nodes(ctx, tenant, ids)
		if err != nil {
			return err
		}
		names := make(map[string]string, len(nodes))
		for i := range nodes {
			names[nodes[i].ID] = nodes[i].Name
		}
		for i := range part {
			part[i].Name = names[part[i].Node]
		}
	}
	return nil
}

// targetsAfter returns at most n targets after a node, and whether there are more.
func (s *Service) targetsAfter(ctx context.Context, r store.Reader, tenant string, rec *record, after string, n int) (ids []string, more bool, err error) {
	first, _ := rec.chunkOf(after)
	for i := first; i < rec.Chunks; i++ {
		if len(ids) == n {
			return ids, true, nil
		}
		c, err := s.chunks.Get(ctx, r, chunksKey(tenant, rec.ID).Uint(uint64(i)))
		if err != nil {
			return nil, false, err
		}
		at, found := slices.BinarySearch(c, after)
		if found {
			at++
		}
		c = c[at:]
		if len(ids)+len(c) > n {
			return append(ids, c[:n-len(ids)]...), true, nil
		}
		ids = append(ids, c...)
	}
	return ids, false, nil
}

// within reports whether the sorted ids hold the node.
func within(ids []string, node string) bool {
	_, ok := slices.BinarySearch(ids, node)
	return ok
}
