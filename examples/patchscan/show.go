package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// view is what a scan has found, ready to be shown.
type view struct {
	*scan
	machine   *machine
	result    *patch.Result
	plan      *patch.Plan // with an override list
	explained []*patch.Explanation
}

func (v *view) show() error {
	for _, n := range v.machine.notes {
		fmt.Fprintf(v.stderr, "patchscan: %s\n", fault.Clean(n))
	}
	if v.json {
		return v.asJSON()
	}
	switch {
	case v.explained != nil:
		for _, x := range v.explained {
			for line := range strings.Lines(x.String()) {
				fmt.Fprintln(v.stdout, fault.Clean(strings.TrimSuffix(line, "\n")))
			}
		}
		fmt.Fprintln(v.stdout)
	default:
		if err := v.table(); err != nil {
			return err
		}
	}
	if v.plan != nil {
		if err := v.steps(); err != nil {
			return err
		}
	}
	return v.summary()
}

// demands says whether a patch is shown without -all.
func demands(p *patch.Patch) bool {
	return p.Compliance == patch.NonCompliant || p.State == patch.StateAvailableSecurityUpdate
}

func (v *view) table() error {
	t := newTable(v.stdout, "PACKAGE", "STATE", "INSTALLED", "WANTED", "REASON")
	offered := map[patch.Key]newer{}
	for _, n := range v.machine.newer(v.result) {
		offered[n.Key] = n
	}
	for i := range v.result.Patches {
		p := &v.result.Patches[i]
		if v.all || demands(p) {
			t.row(p.Key.String(), string(p.State), p.Installed, p.Wanted, reason(p, v.result.Explain(p.Key), offered[p.Key]))
		}
	}
	return t.end()
}

// reason says in a few words what Explain says in a tree.
func reason(p *patch.Patch, x *patch.Explanation, offered newer) string {
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	switch p.State {
	case patch.StateMissing, patch.StateFailed, patch.StateInstalled, patch.StateInstalledPendingReboot:
		by := approver(x)
		if p.Level != patch.LevelUnspecified {
			by += " (" + string(p.Level) + ")"
		}
		add(by)
		add(strings.TrimSpace(p.Classification + " " + p.Severity))
		add(few(p.Advisories))
		add(few(p.CVEs))
		add(p.Repo)
		if len(p.Replaces) > 0 {
			add("replaces " + strings.Join(p.Replaces, ", "))
		}
		if p.LivePatched {
			add("covered by live patches")
		}
		if offered.Offered != "" && offered.Offered != p.Wanted {
			add(offered.Offered + " is newer, but not approved")
			add(refuser(x))
		}
		if p.BlockedBy != "" {
			add("needs " + p.BlockedBy + ", which is rejected")
		}
	case patch.StateInstalledRejected:
		add("rejected with BLOCK")
	default:
		switch {
		case x != nil && x.Rule == "R1":
			add("rejected, may stay as a dependency")
		case offered.Offered != "":
			add(offered.Offered + " is on offer, not approved")
			add(refuser(x))
		case len(offers(x)) == 0:
			add("no repository has it")
		default:
			add("not approved")
			add(refuser(x))
		}
	}
	if offered.Phased {
		add("being rolled out, apt waits")
	}
	if p.Held {
		add("held")
	}
	return strings.Join(parts, "; ")
}

func few(list []string) string {
	switch n := len(list); {
	case n == 0:
		return ""
	case n <= 2:
		return strings.Join(list, ", ")
	default:
		return fmt.Sprintf("%s and %d more", list[0], n-1)
	}
}

// offers are the parts of a tree that are about versions on offer.
func offers(x *patch.Explanation) (out []*patch.Explanation) {
	if x == nil {
		return nil
	}
	for _, c := range x.Children {
		if strings.HasPrefix(c.What, "version ") {
			out = append(out, c)
		}
	}
	return out
}

// approver names what approved the wanted version.
func approver(x *patch.Explanation) string {
	for _, o := range offers(x) {
		if o.OK {
			if found := decider(o, true); found != nil {
				return found.What
			}
		}
	}
	return "approved"
}

// decider finds the first rule or list below x that has the answer.
func decider(x *patch.Explanation, ok bool) *patch.Explanation {
	for _, c := range x.Children {
		if c.OK == ok && (strings.HasPrefix(c.What, "rule ") || c.What == "approved list") {
			return c
		}
		if found := decider(c, ok); found != nil {
			return found
		}
	}
	return nil
}

// refuser says what keeps the newest version on offer out: the condition that failed in the first rule, or what the tree says of the version itself.
func refuser(x *patch.Explanation) string {
	for _, o := range offers(x) {
		if o.OK {
			continue
		}
		if d := decider(o, false); d != nil {
			for _, c := range d.Children {
				if !c.OK {
					return strings.TrimSuffix(d.What+": "+c.What+": "+c.Why, ": ")
				}
			}
			if d.Why != "" {
				return d.What + ": " + d.Why
			}
		}
		return o.Why
	}
	for _, c := range x.Children {
		if c.Rule == "N3" || c.Rule == "N5" && !c.OK {
			return c.What + ": " + c.Why
		}
	}
	return ""
}

// steps shows what an Install with the override list would do.
func (v *view) steps() error {
	if len(v.plan.Steps)+len(v.plan.LeftOut) == 0 {
		_, err := fmt.Fprintf(v.stdout, "an Install with %s would change nothing\n\n", fault.Clean(v.list))
		return err
	}
	fmt.Fprintf(v.stdout, "an Install with %s would bring:\n", fault.Clean(v.list))
	t := newTable(v.stdout, "PACKAGE", "FROM", "TO", "REPOSITORY", "NOTE")
	for _, s := range v.plan.Steps {
		t.row(s.Key.String(), s.From, s.To, s.Repo, "")
	}
	for _, s := range v.plan.LeftOut {
		t.row(s.Key.String(), s.From, s.To, s.Repo, "left out: "+s.Why)
	}
	return t.end()
}

// summary counts, and gives the verdict.
func (v *view) summary() error {
	c := v.result.Counts
	var parts []string
	for _, n := range []struct {
		n    int
		what string
	}{{c.Missing, "missing"}, {c.Failed, "failed"}, {c.InstalledRejected, "rejected"}, {c.InstalledPendingReboot, "waiting for a reboot"}, {c.Installed, "installed"},
		{c.InstalledOther, "installed but not the baseline's"}, {c.NotApplicable, "not applicable"}} {
		if n.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing is installed"}
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "packages: %s\n", strings.Join(parts, ", "))
	if c.CriticalNonCompliant+c.SecurityNonCompliant > 0 { // they overlap
		fmt.Fprintf(b, "non-compliant: %d critical, %d security, %d other\n", c.CriticalNonCompliant, c.SecurityNonCompliant, c.OtherNonCompliant)
	}
	unasked := 0
	for _, n := range v.machine.newer(v.result) {
		if !n.Wanted {
			unasked++
		}
	}
	if unasked > 0 {
		more := ""
		if !v.all {
			more = " (-all shows them)"
		}
		fmt.Fprintf(b, "newer versions on offer that the baseline does not ask for: %d%s\n", unasked, more)
	}
	verdict := "COMPLIANT"
	if v.result.Compliance != patch.Compliant {
		verdict = "NON_COMPLIANT"
		if v.result.Severity != patch.LevelUnspecified {
			verdict += " (" + string(v.result.Severity) + ")"
		}
	}
	fmt.Fprintf(b, "%s: %s, by %s on %s", verdict, fault.Clean(v.machine.name), fault.Clean(orDash(v.result.Baseline)), day(v.result.At))
	if !v.machine.lists.IsZero() {
		fmt.Fprintf(b, ", from lists of %s", day(v.machine.lists))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(v.stdout, b.String())
	return err
}

func orDash(s string) string {
	if s == "" {
		return "a baseline without a name"
	}
	return s
}

func day(t time.Time) string {
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// report is the form of -json.
type report struct {
	System    string               `json:"system"`
	Root      string               `json:"root"`
	Arch      string               `json:"arch,omitempty"`
	Sources   int                  `json:"sources"`
	Lists     time.Time            `json:"lists,omitzero"`
	Notes     []string             `json:"notes"`
	Result    *patch.Result        `json:"result"`
	Newer     []newer              `json:"newer"`
	Plan      *plan                `json:"plan,omitempty"`
	Explained []*patch.Explanation `json:"explained,omitempty"`
}

type plan struct {
	Steps   []patch.Step `json:"steps"`
	LeftOut []patch.Step `json:"leftOut"`
}

func (v *view) asJSON() error {
	r := report{System: v.machine.name, Root: v.root, Arch: v.machine.node.Arch, Sources: v.machine.sources, Lists: v.machine.lists.UTC(), Notes: v.machine.notes,
		Result: v.result, Newer: v.machine.newer(v.result), Explained: v.explained}
	if v.machine.lists.IsZero() {
		r.Lists = time.Time{}
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	if v.plan != nil {
		r.Plan = &plan{append([]patch.Step{}, v.plan.Steps...), append([]patch.Step{}, v.plan.LeftOut...)}
	}
	return v.print(r)
}

// print writes JSON. What a terminal would act upon is written as \uNNNN, which is the same JSON.
func (s *scan) print(x any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(x); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		if t := string(r); r >= 0x7f && r <= 0xffff && fault.Clean(t) != t {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err := io.WriteString(s.stdout, out.String())
	return err
}

// table prints aligned columns, and nothing at all without rows. Everything in it is made printable: names are others' words.
type table struct {
	out  io.Writer
	text *bytes.Buffer
	w    *tabwriter.Writer
	head string
}

func newTable(out io.Writer, head ...string) *table {
	text := &bytes.Buffer{}
	return &table{out: out, text: text, w: tabwriter.NewWriter(text, 0, 0, 2, ' ', 0), head: strings.Join(head, "\t")}
}

func (t *table) row(cells ...string) {
	if t.head != "" {
		fmt.Fprintln(t.w, t.head)
		t.head = ""
	}
	for i := range cells {
		if cells[i] = fault.Clean(cells[i]); cells[i] == "" && i < len(cells)-1 {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// end prints the table and an empty line below it.
func (t *table) end() error {
	if t.head != "" {
		return nil
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(t.text.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := fmt.Fprintln(t.out, b.String())
	return err
}
