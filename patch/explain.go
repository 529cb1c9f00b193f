package patch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Explanation is why a package has its state: a tree of the questions that were asked and their answers. It is data; String shows it as text.
type Explanation struct {
	Rule     string         `json:"rule,omitempty"`   // of the decision: E1, A2, C4 …
	What     string         `json:"what"`             // the question
	OK       bool           `json:"ok"`               // the answer
	Why      string         `json:"why,omitempty"`    // what decided
	Change   string         `json:"change,omitempty"` // what would have to change for the other answer
	Children []*Explanation `json:"children,omitempty"`
}

// String shows the tree, a line for each question, deeper ones indented.
func (x *Explanation) String() string {
	var b strings.Builder
	x.write(&b, 0)
	return b.String()
}

func (x *Explanation) write(b *strings.Builder, depth int) {
	mark := "no "
	if x.OK {
		mark = "yes"
	}
	b.WriteString(strings.Repeat("  ", depth) + mark + " ")
	if x.Rule != "" {
		b.WriteString("[" + x.Rule + "] ")
	}
	b.WriteString(x.What)
	if x.Why != "" {
		b.WriteString(": " + x.Why)
	}
	if x.Change != "" {
		b.WriteString(" (would change: " + x.Change + ")")
	}
	b.WriteByte('\n')
	for _, c := range x.Children {
		c.write(b, depth+1)
	}
}

// Changes returns every change that the tree names, outermost first, without repetition.
func (x *Explanation) Changes() []string {
	var out []string
	var walk func(*Explanation)
	walk = func(x *Explanation) {
		if x.Change != "" && !slices.Contains(out, x.Change) {
			out = append(out, x.Change)
		}
		for _, c := range x.Children {
			walk(c)
		}
	}
	walk(x)
	return out
}

func (x *Explanation) add(c *Explanation) *Explanation {
	x.Children = append(x.Children, c)
	return c
}

// Explain tells why a package has its state, or why it has none: which filter, rule, date or entry decided about each version on offer,
// newest first, and what would have to change. OK of the root is whether the package is compliant. It evaluates the one package again, so it costs
// nothing until it is asked for; nil when the package is neither installed nor on offer.
func (r *Result) Explain(k Key) *Explanation {
	in := r.in
	n := in.index.find(k.Name, k.Arch, false)
	if n < 0 {
		return nil
	}
	p, err := compile(in.baseline, in.node, in.now, in.opts)
	if err != nil {
		return nil // Evaluate compiled the same baseline
	}
	p.noInfo = p.withoutNotices(in.available)
	e := &evaluation{plan: p, input: in, result: &Result{in: in}}
	e.supersede()
	return e.explain(r, k, &in.index.sets[n])
}

func (e *evaluation) explain(r *Result, k Key, g *set) *Explanation {
	x := r.Find(k)
	root := &Explanation{What: k.String(), OK: true}
	inst := e.newest(g)
	switch {
	case x == nil && slices.Contains(r.NotApplicable, k):
		root.Rule, root.Why = "C7", string(StateNotApplicable)+": approved, but not installed"
		root.Change = "install any version of it"
	case x == nil && inst < 0:
		root.Why = "nothing to report: it is not installed, and no version is approved"
	case x == nil:
		root.Why = "nothing to report"
	default:
		root.OK = x.Compliance != NonCompliant
		root.Rule, root.Why, root.Change = e.state(x)
		if x.State == StateInstalledOther && inst >= 0 && e.rejectedInstalled(g) {
			root.Rule, root.Why = "R1", string(x.State)+": it is rejected with ALLOW_AS_DEPENDENCY, so it may stay"
		}
	}
	if inst >= 0 {
		p := &e.input.installed[inst]
		why := "installed " + p.Version
		if others := e.versions(g); others > 1 {
			why += ", the newest of " + strconv.Itoa(others)
		}
		if p.Held {
			why += ", held"
		}
		root.add(&Explanation{Rule: "C11", What: "installed", OK: true, Why: why})
		e.explainRejected(root, g)
	} else {
		root.add(&Explanation{What: "installed"})
	}
	if e.noInfo {
		root.add(&Explanation{Rule: "N3", What: "update notices", Why: "no repository of the node carries any, so nothing is approved for " + string(e.os),
			Change: "configure a repository with updateinfo"})
	}
	offers := e.offers(g)
	var candidate string
	secure := false
	if e.family == FamilyApt && len(offers) > 0 {
		var onOffer bool
		candidate, secure, onOffer = e.candidate(g)
		c := &Explanation{Rule: "N5", What: "candidate", OK: onOffer, Why: candidate}
		switch {
		case candidate == "":
			c.Why = "none: every version is pinned below 0"
		case !onOffer:
			c.Why = candidate + ", which is installed and in no archive"
		case secure:
			c.Why += ", in a security archive"
		default:
			c.Why += ", in no security archive"
		}
		root.add(c)
	}
	want := e.wanted(g)
	for _, i := range offers {
		e.explainOffer(root, i, i == want, candidate, secure)
	}
	return root
}

func (e *evaluation) versions(g *set) (n int) {
	for i := g.inst; i >= 0; i = e.input.index.nextInst[i] {
		n++
	}
	return n
}

// offers lists what is on offer, newest first.
func (e *evaluation) offers(g *set) []int32 {
	var out []int32
	for i := g.avail; i >= 0; i = e.input.index.nextAvail[i] {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b int32) int {
		switch {
		case e.prefer(a, b):
			return -1
		case e.prefer(b, a):
			return 1
		}
		return int(a) - int(b)
	})
	return out
}

func (e *evaluation) state(x *Patch) (rule, why, change string) {
	s := string(x.State)
	switch x.State {
	case StateInstalled:
		if x.LivePatched {
			return "K2", s + ": live patches of the running kernel cover every CVE of " + x.Wanted, ""
		}
		return "C1", s + ": the wanted version is " + x.Wanted + " and " + orNone(x.Installed) + " is installed", ""
	case StateInstalledPendingReboot:
		return "C6", s + ": it was installed after the last start of the machine", "reboot, then scan again"
	case StateInstalledRejected:
		return "C5", s + ": an entry of RejectedPatches names it, and the action is BLOCK", "remove the package, or the entry"
	case StateMissing, StateFailed:
		why, rule = s+": "+x.Wanted+" is wanted", "C2"
		if x.Installed != "" {
			why += ", " + x.Installed + " is installed"
		}
		if len(x.Replaces) > 0 {
			why += "; it takes the place of " + strings.Join(x.Replaces, ", ")
		}
		change = "install " + x.Wanted
		if x.State == StateFailed {
			rule, why = "C3", why+"; an Install tried"
		}
		if x.BlockedBy != "" {
			rule, why = "R4", why+"; it needs "+x.BlockedBy+", which is rejected with BLOCK"
			change = "take " + x.BlockedBy + " off RejectedPatches, then install " + x.Wanted
		}
		if x.Held {
			why += "; the machine holds it"
			change = "release the hold, then " + change
		}
		return rule, why, change
	case StateInstalledOther:
		return "C4", s + ": no version on offer is approved", ""
	case StateNotApplicable:
		return "C7", s + ": approved, but the node does not need it", ""
	case StateAvailableSecurityUpdate:
		return "C8", s + ": a security update is available and not approved", ""
	}
	return "", s, ""
}

func orNone(s string) string {
	if s == "" {
		return "it"
	}
	return s
}

func (e *evaluation) explainRejected(root *Explanation, g *set) {
	if len(e.rejected.entries) == 0 {
		return
	}
	in := e.input
	c := root.add(&Explanation{Rule: "E4", What: "installed version rejected", OK: e.rejectedInstalled(g)})
	for i := g.inst; i >= 0; i = in.index.nextInst[i] {
		p := &in.installed[i]
		if n := e.match.find(&e.rejected, p.Name, p.Version, p.Arch, nil, ""); n >= 0 {
			c.Why = "entry " + quote(e.rejected.entries[n].text) + " names " + p.Version
			c.Change = "remove " + quote(e.rejected.entries[n].text) + " from RejectedPatches"
		}
	}
}

func (e *evaluation) explainOffer(root *Explanation, i int32, wanted bool, candidate string, candidateSecure bool) {
	a := &e.input.available[i]
	what := "version " + a.Version
	if a.Repo != "" {
		what += " in " + a.Repo
	}
	c := root.add(&Explanation{Rule: "E2", What: what})
	if e.family == FamilyApt && CompareDeb(a.Version, candidate) != 0 {
		c.Rule, c.Why = "N5", "it is not the candidate, "+orNone(candidate)+" is"
		return
	}
	if by := e.superseded[a.Name]; by != "" && e.family == FamilyWindows {
		c.add(&Explanation{Rule: "E6", What: "superseded", OK: true, Why: by + " takes its place"})
	}
	if n := e.rejects(a); n >= 0 {
		c.Rule, c.Why = "E4", "entry "+quote(e.rejected.entries[n].text)+" of RejectedPatches names it"
		c.Change = "remove " + quote(e.rejected.entries[n].text) + " from RejectedPatches"
		return
	}
	offered(a, func(n *Advisory) bool {
		under := c
		if n != nil {
			under = c.add(&Explanation{What: "under notice " + n.ID, Why: strings.TrimSpace(n.Type + " " + n.Severity)})
		} else if e.family == FamilyYum || e.family == FamilyZypper {
			under = c.add(&Explanation{What: "without a notice"})
		}
		secure := e.security(a, n, candidateSecure)
		got, ok := e.approve(a, n, secure)
		if under != c {
			under.OK = ok
		}
		c.OK = c.OK || ok
		e.explainApproval(under, a, n, secure)
		if ok && under != c {
			under.Why = strings.TrimPrefix(under.Why+", level "+string(got.level), ", ")
		}
		return true
	})
	switch {
	case wanted:
		c.Rule, c.Why = "E5", "approved, and the newest that is: the wanted version"
	case c.OK:
		c.Rule, c.Why = "E5", "approved, but a newer version is as well, or the same from another repository"
	default:
		c.Why = "not approved"
	}
}

func (e *evaluation) explainApproval(x *Explanation, a *Available, n *Advisory, secure bool) {
	ok, miss := e.accepts(e.global, a, n)
	if len(e.global) > 0 {
		c := x.add(&Explanation{Rule: "E1", What: "global filters", OK: ok})
		if !ok {
			c.Why, c.Change = e.filterWhy(&e.global[miss], a, n, "GlobalFilters")
		}
	}
	for i := range e.rules {
		c := x.add(&Explanation{Rule: "E2", What: "rule " + strconv.Itoa(i+1), OK: ok})
		if !ok {
			c.Why = "the global filters do not accept it"
			continue
		}
		e.explainRule(c, i, a, n, secure)
	}
	if len(e.approved.entries) == 0 {
		return
	}
	c := x.add(&Explanation{Rule: "E3", What: "approved list"})
	m := e.match.find(&e.approved, a.Name, a.Version, a.Arch, n, bulletin(a))
	switch {
	case m < 0:
		c.Why = "no entry names it"
		for _, y := range e.approved.entries {
			if y.kind == entryNone {
				c.add(&Explanation{Rule: "L1", What: "entry " + quote(y.text), Why: y.why})
			}
		}
	case !secure && !e.b.ApprovedNonSecurity && e.family != FamilyWindows:
		c.Rule, c.Why = "N9", "entry "+quote(e.approved.entries[m].text)+" names it, but it is no security patch"
		c.Change = "set ApprovedPatchesEnableNonSecurity"
	default:
		c.OK, c.Why = !e.noInfo, "entry "+quote(e.approved.entries[m].text)+" names it"
		c.Change = "remove " + quote(e.approved.entries[m].text) + " from ApprovedPatches"
	}
}

func (e *evaluation) explainRule(c *Explanation, i int, a *Available, n *Advisory, secure bool) {
	r := &e.rules[i]
	where := "rule " + strconv.Itoa(i+1)
	c.OK = !e.noInfo
	if !e.inScope(r, a) {
		c.OK = false
		c.add(&Explanation{Rule: "F3", What: "patch set", Why: "the rule names none, so it is about the operating system", Change: "add PATCH_SET=APPLICATION to " + where})
	}
	if !secure && !r.nonsec {
		c.OK = false
		rule, why := "N1", "no well-formed notice lists it"
		if e.family == FamilyApt {
			rule, why = "N5", "the candidate is in no security archive"
		}
		c.add(&Explanation{Rule: rule, What: "security", Why: why, Change: "set EnableNonSecurity in " + where})
	}
	for j := range r.filters {
		f := &r.filters[j]
		if e.takes(f, a, n) {
			c.add(&Explanation{Rule: "F1", What: "filter " + string(f.key), OK: true, Why: e.has(f.key, a, n)})
			continue
		}
		c.OK = false
		why, change := e.filterWhy(f, a, n, where)
		c.add(&Explanation{Rule: "F1", What: "filter " + string(f.key), Why: why, Change: change})
	}
	rule, why, change := e.dateWhy(r, a, n)
	old := e.old(r, a, n)
	c.OK = c.OK && old
	c.add(&Explanation{Rule: rule, What: "date", OK: old, Why: why, Change: change})
	if c.OK {
		c.Why = "level " + string(r.level)
	}
}

func (e *evaluation) has(k FilterKey, a *Available, n *Advisory) string {
	if v := e.property(k, a, n); v != "" {
		return v
	}
	return "any"
}

func (e *evaluation) filterWhy(f *filter, a *Available, n *Advisory, where string) (why, change string) {
	v := e.property(f.key, a, n)
	values := strings.Join(f.values, ", ")
	if v == "" {
		if f.key == KeyProduct {
			return "the node's product is unknown, and the filter asks for " + values, "say the node's product, or put * into " + string(f.key) + " of " + where
		}
		return "it has none, and the filter asks for " + values, "put * into " + string(f.key) + " of " + where + ", or leave the filter out"
	}
	return v + " is none of " + values, "put " + v + " into " + string(f.key) + " of " + where
}

func (e *evaluation) dateWhy(r *rule, a *Available, n *Advisory) (rule, why, change string) {
	if r.immediate {
		return "A6", "there are no reliable dates for " + string(e.os) + ", so none is asked for", ""
	}
	t, from := e.date(a, n)
	rule = map[string]string{"updated": "A2", "issued": "A2", "build time": "A5", "release": "A1", "no date": "A5"}[from]
	if t.IsZero() {
		if e.family == FamilyWindows {
			return "A7", "it has no date, which counts as 1970-01-01", ""
		}
		return rule, "it has no date, so there is no wait", ""
	}
	at := fmt.Sprintf("%s %s", from, t.UTC().Format(dateLayout))
	if r.bounded {
		until := time.Unix(r.until*86400, 0).UTC().Format(dateLayout)
		if e.old(r, a, n) {
			return "A4", at + ", not after " + until, ""
		}
		return "A4", at + ", after " + until, "set ApproveUntilDate to " + t.UTC().Format(dateLayout) + " or later"
	}
	due, _ := e.due(r, a, n)
	layout := dateLayout
	if e.opts.Exact {
		layout = time.RFC3339
	}
	why = at + " + " + strconv.FormatInt(r.days, 10) + " days = " + due.UTC().Format(layout)
	if e.old(r, a, n) {
		return rule, why + ", which has come", ""
	}
	return rule, why + ", which has not come", "wait until " + due.UTC().Format(layout)
}
