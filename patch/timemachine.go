package patch

import (
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Archive is what the repositories offered from an instant on, until the next archive.
type Archive struct {
	At        time.Time
	Available []Available
}

// Approval is the story of one version under one notice through a series of archives.
type Approval struct {
	Key
	Version  string    `json:"version"`
	Advisory string    `json:"advisory,omitempty"` // empty for a package in no notice
	CVEs     []string  `json:"cves,omitempty"`
	Seen     time.Time `json:"seen"` // instant of the first archive that offers it

	Approved time.Time `json:"approved,omitzero"` // the first instant at which the baseline approves it; zero for never
	Dates    []string  `json:"dates"`             // the days that its date had, in order of appearance: more than one means that it moved
	Unmoved  time.Time `json:"unmoved,omitzero"`  // when it would have been approved had its first date stayed
	Pending  time.Time `json:"pending,omitzero"`  // when its last date will be approved, if that lies behind the end of the sweep
	Gone     bool      `json:"gone,omitempty"`    // the last archive does not offer it any more
}

// Moving says whether the patch was never approved because its notice was touched again and again (A2): by its first date it would
// have been.
func (a *Approval) Moving(until time.Time) bool {
	return a.Approved.IsZero() && len(a.Dates) > 1 && !a.Unmoved.IsZero() && !a.Unmoved.After(until)
}

// Sweep is Options.Sweep under the zero options.
func Sweep(b *Baseline, node NodeFacts, archives []Archive, until time.Time, match func(*Available, *Advisory) bool) ([]Approval, error) {
	return (*Options)(nil).Sweep(b, node, archives, until, match)
}

// Sweep moves "now" from the first archive to until and tells for every version that match accepts (nil: all) when the baseline would
// first have approved it. It is exact, not sampled: within one archive an approval comes with a date and stays. The notice
// is nil for a version without one. The answer is sorted by package, version and notice. Nothing of a node is needed but its facts: whether a package
// is installed does not matter here.
func (o *Options) Sweep(b *Baseline, node NodeFacts, archives []Archive, until time.Time, match func(*Available, *Advisory) bool) ([]Approval, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	ordered, err := inOrder(archives)
	if err != nil {
		return nil, err
	}
	stories := map[storyID]*Approval{}
	for i := range ordered {
		ar := &ordered[i]
		if ar.At.After(until) {
			break
		}
		end := until
		last := i == len(ordered)-1 || ordered[i+1].At.After(until)
		if !last {
			end = ordered[i+1].At.Add(-1)
		}
		in := &input{baseline: b, node: node, available: ar.Available, opts: opts, now: ar.At.UTC()}
		p, err := compile(b, node, in.now, opts)
		if err != nil {
			return nil, err
		}
		p.noInfo = p.withoutNotices(ar.Available)
		in.index = newIndex(p.family, node.Arch, nil, ar.Available)
		e := &evaluation{plan: p, input: in, result: &Result{in: in}}
		e.supersede()
		for _, s := range stories {
			s.Gone = true
		}
		for k, said := range e.tidings(match) {
			s := stories[k]
			if s == nil {
				s = &Approval{Key: k.Key, Version: k.version, Advisory: k.advisory, Seen: ar.At.UTC()}
				stories[k] = s
			}
			s.tell(said, ar.At.UTC(), end)
		}
	}
	out := make([]Approval, 0, len(stories))
	for _, s := range stories {
		slices.Sort(s.CVEs)
		s.CVEs = slices.Compact(s.CVEs)
		out = append(out, *s)
	}
	f := b.System().Family()
	slices.SortFunc(out, func(x, y Approval) int {
		if c := x.Key.compare(y.Key); c != 0 {
			return c
		}
		if c := f.Compare(x.Version, y.Version); c != 0 {
			return c
		}
		if c := strings.Compare(x.Version, y.Version); c != 0 {
			return c
		}
		return strings.Compare(x.Advisory, y.Advisory)
	})
	return out, nil
}

// storyID names an Approval.
type storyID struct {
	Key
	version, advisory string
}

// tiding is what one archive says of a version under a notice; of several entries the one that is approved first speaks.
type tiding struct {
	at   time.Time
	ok   bool
	date time.Time
	cves []string
}

func (e *evaluation) tidings(match func(*Available, *Advisory) bool) map[storyID]tiding {
	in := e.input
	out := map[storyID]tiding{}
	for n := range in.index.sets {
		g := &in.index.sets[n]
		candidate, secure := "", false
		if e.family == FamilyApt {
			candidate, secure, _ = e.candidate(g)
		}
		for j := g.avail; j >= 0; j = in.index.nextAvail[j] {
			a := &in.available[j]
			offered(a, func(n *Advisory) bool {
				if match != nil && !match(a, n) {
					return true
				}
				k := storyID{Key: Key{a.Name, a.Arch}, version: a.Version}
				var said tiding
				switch {
				case n != nil:
					k.advisory, said.cves = n.ID, n.CVEs
				case a.Update != nil:
					said.cves = a.Update.CVEs
				}
				said.date, _ = e.date(a, n)
				said.at, said.ok = e.first(a, n, candidate, secure)
				if was, seen := out[k]; seen {
					said.cves = slices.Concat(was.cves, said.cves)
					if was.ok && (!said.ok || was.at.Before(said.at)) || !was.ok && !said.ok && was.date.Before(said.date) {
						said.at, said.ok, said.date = was.at, was.ok, was.date
					}
				}
				out[k] = said
				return true
			})
		}
	}
	return out
}

// tell adds what one archive, in force from start to end, says to the story.
func (s *Approval) tell(said tiding, start, end time.Time) {
	s.Gone = false
	s.CVEs = append(s.CVEs, said.cves...)
	d := "none"
	if !said.date.IsZero() {
		d = said.date.UTC().Format(dateLayout)
	}
	if len(s.Dates) == 0 || s.Dates[len(s.Dates)-1] != d {
		s.Dates = append(s.Dates, d)
	}
	s.Pending = time.Time{}
	if !said.ok {
		return
	}
	at := said.at
	if at.Before(start) {
		at = start
	}
	if s.Unmoved.IsZero() {
		s.Unmoved = at
	}
	switch {
	case !s.Approved.IsZero():
	case at.After(end):
		s.Pending = at
	default:
		s.Approved = at
	}
}

// first is the first instant at which the offer is approved, whatever now is; the zero time means always.
func (e *evaluation) first(a *Available, n *Advisory, candidate string, versionSecure bool) (at time.Time, ok bool) {
	if e.noInfo || e.rejects(a) >= 0 || e.superseded[a.Name] != "" || e.family == FamilyApt && CompareDeb(a.Version, candidate) != 0 {
		return time.Time{}, false
	}
	secure := e.security(a, n, versionSecure)
	if len(e.approved.entries) > 0 && (secure || e.b.ApprovedNonSecurity || e.family == FamilyWindows) &&
		e.match.find(&e.approved, a.Name, a.Version, a.Arch, n, bulletin(a)) >= 0 {
		return time.Time{}, true // no date bounds the list (A9)
	}
	if yes, _ := e.accepts(e.global, a, n); !yes {
		return time.Time{}, false
	}
	for i := range e.rules {
		r := &e.rules[i]
		if !secure && !r.nonsec || !e.inScope(r, a) {
			continue
		}
		if yes, _ := e.accepts(r.filters, a, n); !yes {
			continue
		}
		if due, yes := e.due(r, a, n); yes && (!ok || due.Before(at)) {
			at, ok = due, true
		}
	}
	return at, ok
}

func inOrder(archives []Archive) ([]Archive, error) {
	out := slices.Clone(archives)
	slices.SortStableFunc(out, func(a, b Archive) int { return a.At.Compare(b.At) })
	for i := 1; i < len(out); i++ {
		if out[i].At.Equal(out[i-1].At) {
			return nil, fault.New("patch.Sweep", fault.Validation, "two archives have the instant %s: only one can be right", out[i].At.UTC().Format(time.RFC3339))
		}
	}
	return out, nil
}

// ForCVE makes a match for Sweep: versions whose notice, or catalogue entry, names the CVE id.
func ForCVE(id string) func(*Available, *Advisory) bool {
	return func(a *Available, n *Advisory) bool {
		if n != nil {
			return contains(n.CVEs, id)
		}
		return a.Update != nil && contains(a.Update.CVEs, id)
	}
}

// Change is one package's change of state: from one instant to another (Timeline) or from one result to another (Compare).
type Change struct {
	At time.Time `json:"at,omitzero"`
	Key
	From, To   State  // "" for nothing reported
	FromWanted string // versions wanted
	ToWanted   string
}

// Compare lists the packages whose state or wanted version differ between two results, sorted. It shows what another baseline, or another day,
// does to a node.
func Compare(a, b *Result) []Change {
	var out []Change
	i, j := 0, 0
	for i < len(a.Patches) || j < len(b.Patches) {
		c := 0
		switch {
		case i == len(a.Patches):
			c = 1
		case j == len(b.Patches):
			c = -1
		default:
			c = a.Patches[i].Key.compare(b.Patches[j].Key)
		}
		switch {
		case c < 0:
			p := &a.Patches[i]
			out = append(out, Change{At: b.At, Key: p.Key, From: p.State, FromWanted: p.Wanted})
			i++
		case c > 0:
			p := &b.Patches[j]
			out = append(out, Change{At: b.At, Key: p.Key, To: p.State, ToWanted: p.Wanted})
			j++
		default:
			p, q := &a.Patches[i], &b.Patches[j]
			if p.State != q.State || p.Wanted != q.Wanted {
				out = append(out, Change{At: b.At, Key: p.Key, From: p.State, To: q.State, FromWanted: p.Wanted, ToWanted: q.Wanted})
			}
			i++
			j++
		}
	}
	return out
}

// Timeline is Options.Timeline under the zero options.
func Timeline(b *Baseline, node NodeFacts, installed []Installed, archives []Archive, until time.Time) ([]Change, error) {
	return (*Options)(nil).Timeline(b, node, installed, archives, until)
}

// Timeline replays an unchanging node from the first archive to until: every change of a package's state, at the instant at which it comes.
// The states at the beginning are changes from nothing.
func (o *Options) Timeline(b *Baseline, node NodeFacts, installed []Installed, archives []Archive, until time.Time) ([]Change, error) {
	ordered, err := inOrder(archives)
	if err != nil {
		return nil, err
	}
	var out []Change
	was := &Result{}
	for i := range ordered {
		ar := &ordered[i]
		if ar.At.After(until) {
			break
		}
		end := until
		if i+1 < len(ordered) && !ordered[i+1].At.After(until) {
			end = ordered[i+1].At.Add(-1)
		}
		at, more := ar.At.UTC(), true
		for more {
			r, err := o.Evaluate(b, node, installed, ar.Available, at)
			if err != nil {
				return nil, err
			}
			out = append(out, Compare(was, r)...)
			was = r
			at, more = r.next(end)
		}
	}
	return out, nil
}

// next is the first instant after the result's own, up to end, at which the date of an offer comes due.
func (r *Result) next(end time.Time) (time.Time, bool) {
	in := r.in
	p, err := compile(in.baseline, in.node, in.now, in.opts)
	if err != nil {
		return time.Time{}, false
	}
	var best time.Time
	for i := range in.available {
		a := &in.available[i]
		offered(a, func(n *Advisory) bool {
			for j := range p.rules {
				due, ok := p.due(&p.rules[j], a, n)
				if ok && due.After(in.now) && !due.After(end) && (best.IsZero() || due.Before(best)) {
					best = due
				}
			}
			return true
		})
	}
	return best, !best.IsZero()
}
