package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Session returns the id under which this process holds its leases, and sees to it that others can see it. It is another one after the process was so long silent that others buried it.
func (l *Leases) Session(ctx context.Context) (string, error) {
	session, registered, err := l.current()
	if err != nil || registered {
		return session, err
	}
	began := l.cfg.Now()
	err = l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := l.sessions.Get(ctx, tx, sessionKey(session))
		if errors.Is(err, store.ErrNotFound) {
			return l.sessions.Put(tx, sessionKey(session), l.own())
		}
		return err
	})
	if err != nil {
		return "", fault.Wrap("lease.Session", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == session && !l.registered {
		l.registered, l.renewed = true, began
	}
	return session, nil
}

// own is the first record of this session.
func (l *Leases) own() sessionRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	var forms []string
	for _, g := range slices.Sorted(maps.Keys(l.forms)) {
		forms = append(forms, g+"="+strconv.Itoa(l.forms[g]))
	}
	return sessionRecord{Owner: l.cfg.Owner, Beat: 1, TTL: l.cfg.TTL, Groups: l.groups, Forms: strings.Join(forms, ",")}
}

// Living reports whether a session is alive as far as is known from the last look: this process's own, or one whose record changed less than its patience ago. Whose record was
// never seen is not.
func (l *Leases) Living(session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if session == l.session {
		return session != ""
	}
	s, ok := l.seen[session]
	return ok && !l.cfg.Exclusive && l.cfg.Now().Sub(s.since) < patience(s.ttl)
}

// Exists reports whether a session's record is there in the state that r sees. The id of one that is gone is never used again.
func (l *Leases) Exists(ctx context.Context, r store.Reader, session string) (bool, error) {
	_, err := l.sessions.Get(ctx, r, sessionKey(session))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, fault.Wrap("lease.Exists", err)
}

// Look notes what can be seen of all sessions, for [Leases.Living]. It costs one short scan.
func (l *Leases) Look(ctx context.Context, r store.Reader) error {
	_, err := l.members(ctx, r, "")
	return fault.Wrap("lease.Look", err)
}

// members looks at all sessions and returns the forms of the living sessions that are in a group.
func (l *Leases) members(ctx context.Context, r store.Reader, group string) (forms []int, err error) {
	now := l.cfg.Now()
	for e, err := range l.sessions.Scan(ctx, r, sessionsKey().Range()) {
		if err != nil {
			return nil, err
		}
		id, err := sessionOf(e.Key)
		if err != nil {
			return nil, err
		}
		if l.lives(id, e.Value, now) && slices.Contains(strings.Split(e.Value.Groups, ","), group) {
			forms = append(forms, e.Value.form(group))
		}
	}
	return forms, nil
}

// form is the highest form of a group's work that the session understands; 1 for one that does not say.
func (r *sessionRecord) form(group string) int {
	for part := range strings.SplitSeq(r.Forms, ",") {
		if g, n, ok := strings.Cut(part, "="); ok && g == group {
			if f, err := strconv.Atoi(n); err == nil {
				return max(1, f)
			}
		}
	}
	return 1
}

// lives notes what is seen of a session and reports whether it is alive.
func (l *Leases) lives(session string, rec sessionRecord, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if session == l.session {
		return true
	}
	dead, _ := l.sight(session, rec, now)
	return !dead && !l.cfg.Exclusive
}

func sessionsKey() key.K { return key.New("").Str("lease").Str("session") }

func sessionOf(k []byte) (string, error) {
	r := key.Read(k[len(sessionsKey()):])
	id := r.Str()
	return id, r.Err()
}

// JoinAs is Join of a process that understands the group's records up to the given form, 1 being the first one: where releases are mixed, [Leases.Survey] tells who can do what.
func (l *Leases) JoinAs(ctx context.Context, group string, form int) error {
	l.mu.Lock()
	if delete(l.forms, group); form > 1 {
		l.forms[group] = form
	}
	l.mu.Unlock()
	return l.Join(ctx, group)
}

// Join makes this process a member of a group of those who share the same work, and Leave takes it out; see [Leases.Survey]. A group's name has no comma and no equals sign.
func (l *Leases) Join(ctx context.Context, group string) error {
	return fault.Wrap("lease.Join", l.regroup(ctx, func(in []string) []string {
		if slices.Contains(in, group) {
			return in
		}
		return append(in, group)
	}))
}

// Leave is the opposite of Join.
func (l *Leases) Leave(ctx context.Context, group string) error {
	return fault.Wrap("lease.Leave", l.regroup(ctx, func(in []string) []string {
		return slices.DeleteFunc(in, func(g string) bool { return g == group })
	}))
}

func (l *Leases) regroup(ctx context.Context, change func([]string) []string) error {
	l.mu.Lock()
	var in []string
	if l.groups != "" {
		in = strings.Split(l.groups, ",")
	}
	l.groups = strings.Join(change(in), ",")
	l.mu.Unlock()
	session, err := l.Session(ctx)
	if err != nil {
		return err
	}
	return l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return l.beat(ctx, tx, session) })
}

// beat gives a sign of life; ErrNotFound when the session was buried.
func (l *Leases) beat(ctx context.Context, tx store.Tx, session string) error {
	rec, err := l.sessions.Get(ctx, tx, sessionKey(session))
	if err != nil {
		return err
	}
	own := l.own()
	own.Beat = rec.Beat + 1
	return l.sessions.Put(tx, sessionKey(session), own)
}

// Survey is how work that is cut into leases is shared among the members of a group.
type Survey struct {
	Members int      // living processes of the group, this one included if it joined
	Newest  int      // the highest form that one of them understands; at least 1
	Mixed   bool     // they do not all understand the same
	Meant   []string // names of the free leases that only the newer of a mixed group can do all the work of, this process among them: it should take them whatever its share is. They are not in Free
	Free    []string // names of the leases that nobody living holds, in the order asked for: Acquire would take them. Without those that are for a newer release while one lives
	Own     []string // names of those that stand on this process's session, perhaps without its knowing, as after a commit of which nobody knew: it must take them, or let them go
}

// Share is how many of n equal parts each member should hold at most, so that all are held and none holds two more than another that could have them.
func (s Survey) Share(n int) int {
	m := max(1, s.Members)
	return (n + m - 1) / m
}

// Survey looks at leases of a tenant and at the members of a group, in one View.
func (l *Leases) Survey(ctx context.Context, group, tenant string, names []string) (Survey, error) {
	own, err := l.Session(ctx) // a new one, if this one was buried
	if err != nil {
		return Survey{}, err
	}
	keys := make([][]byte, len(names))
	for i, n := range names {
		keys[i] = leaseKey(id{tenant, n})
	}
	l.mu.Lock()
	mine := max(1, l.forms[group])
	l.mu.Unlock()
	var sv Survey
	err = l.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		sv = Survey{}
		forms, err := l.members(ctx, r, group)
		if err != nil {
			return err
		}
		sv.Members, sv.Newest = len(forms), 1
		for _, f := range forms {
			sv.Newest = max(sv.Newest, f)
			sv.Mixed = sv.Mixed || f != forms[0]
		}
		free := func(name string, form int) {
			switch {
			case !sv.Mixed || form <= 1:
				sv.Free = append(sv.Free, name)
			case form <= mine:
				sv.Meant = append(sv.Meant, name)
			case form > sv.Newest: // nobody can: somebody keeps it
				sv.Free = append(sv.Free, name)
			}
		}
		recs, err := l.leases.GetMany(ctx, r, keys)
		if err != nil {
			return err
		}
		known := map[string]bool{"": false}
		for i, rec := range recs {
			if rec == nil {
				free(names[i], 0)
				continue
			}
			if rec.Session == own {
				sv.Own = append(sv.Own, names[i])
				continue
			}
			living, ok := known[rec.Session]
			if !ok {
				there, err := l.Exists(ctx, r, rec.Session)
				if err != nil {
					return err
				}
				living = there && l.Living(rec.Session)
				known[rec.Session] = living
			}
			if !living {
				free(names[i], rec.Form)
			}
		}
		return nil
	})
	return sv, fault.Wrap("lease.Survey", err)
}

// Pace is how often who waits for leases of others should look at them, so that what a process held that died is taken over within the TTL: every second, or more often when the TTL
// is short.
func (l *Leases) Pace() time.Duration { return min(time.Second, l.cfg.TTL/8) }
