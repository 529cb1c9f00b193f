package fleetwright

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// Diagnosis says why a command waits, and what to do.
type Diagnosis struct {
	At      time.Time           `json:"at"`
	Command command.Explanation `json:"command"`
	Owner   lease.Holder        `json:"owner"`
	Node    *NodeDiagnosis      `json:"node,omitempty"`
	Store   string              `json:"store,omitempty"` // why the store takes no writes; "" when it does

	Why []string `json:"why"` // the first is what counts most
	Do  []string `json:"do"`
}

// NodeDiagnosis is what is known of the node that was asked about.
type NodeDiagnosis struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Ping      string    `json:"ping,omitempty"`
	LastHeard time.Time `json:"lastHeard,omitzero"`
	Connected bool      `json:"connected"`       // to this control plane
	Plane     string    `json:"plane,omitempty"` // the other one that it is connected to
	Gone      bool      `json:"gone,omitempty"`  // it is not registered (any more)
}

// planes is an ability of the hub where several control planes share the store.
type planes interface {
	elsewhere(tenant, node string) string
}

// Doctor explains why a command waits, as a whole or on one of its nodes (node "" is as a whole). It needs what reading the command needs, and shows no more of the node than the caller may see. It changes
// nothing. Errors: InvalidCommandId, InvocationDoesNotExist.
func (f *Fleet) Doctor(ctx context.Context, id, nodeID string) (d Diagnosis, err error) {
	const op = "fleetwright.Doctor"
	d.At = f.cfg.Now().UTC()
	if d.Command, err = f.Commands.Explain(ctx, id, nodeID); err != nil {
		return d, fault.Wrap(op, err)
	}
	if d.Owner, err = f.Leases.Who(ctx, "", d.Command.Lease); err != nil {
		return d, fault.Wrap(op, err)
	}
	if err := store.Err(f.cfg.Store); err != nil {
		d.Store = err.Error()
	}
	if nodeID != "" {
		n := &NodeDiagnosis{ID: nodeID, Connected: f.hub.Connected(access.Tenant(ctx), nodeID)}
		if p, ok := any(f.hub).(planes); ok {
			n.Plane = p.elsewhere(access.Tenant(ctx), nodeID)
			n.Connected = n.Connected && n.Plane == ""
		}
		info, err := f.Nodes.Get(ctx, nodeID)
		switch {
		case err == nil:
			n.Name, n.Ping, n.LastHeard = info.Name, string(info.PingStatus), info.LastPing
		case fault.KindOf(err) == fault.NotFound || fault.CodeOf(err) == fault.InvalidInstanceID:
			n.Gone = access.Check(ctx, f.cfg.Authorizer, "ssm:DescribeInstanceInformation", "node/"+nodeID, nil) == nil
		case fault.KindOf(err) != fault.Denied:
			return d, fault.Wrap(op, err)
		}
		d.Node = n
	}
	d.reason()
	return d, nil
}

// because adds a reason, and what to do about it.
func (d *Diagnosis) because(do, format string, args ...any) {
	d.Why = append(d.Why, fmt.Sprintf(format, args...))
	if do != "" {
		d.Do = append(d.Do, do)
	}
}

// reason finds out why, what counts most first.
func (d *Diagnosis) reason() {
	x, n := &d.Command, d.Command.Node
	if !x.Command.EndedDateTime.IsZero() {
		d.because("nothing: see get and output for how it went", "it does not wait: it ended %s ago", ago(d.At, x.Command.EndedDateTime))
		return
	}
	if n != nil && n.Result.Detail.Terminal() {
		d.because("nothing here; without the node, doctor explains the rest of the command", "it does not wait on this node: it ended there as %s", n.Result.Detail)
		return
	}
	if d.Store != "" {
		d.because("make room on the disk; it goes on by itself", "the store takes no writes: %s", d.Store)
	}
	switch {
	case !x.Active:
		d.because("fsck -repair, then restart the control plane", "the command is missing in its owner's list: nobody goes on with it")
	case d.Owner.Owner == "":
		d.because("start a control plane; if one runs, see its log for 'part of the commands'", "no control plane owns this part of the commands")
	case d.Owner.Dead:
		d.because("restart "+fault.Clean(d.Owner.Owner)+"; another one takes over by itself", "its owner %s gave no sign of life for %s", fault.Clean(d.Owner.Owner), short(d.Owner.Silent))
	case x.Troubled:
		d.because("see the log of "+fault.Clean(d.Owner.Owner)+" for this command's id", "its owner cannot write it down and tries again")
	case d.Owner.Mine && !x.Here:
		d.because("wait a second; if it stays so, restart this control plane", "its owner, this control plane, has not begun with it")
	case x.Busy:
		d.because("see doctor without arguments, and the log", "its owner is busy: it did not answer within a second")
	}
	if n != nil {
		d.reasonNode(x, n)
	} else {
		d.reasonAll(x)
	}
	if len(d.Why) == 0 {
		d.because("watch it", "nothing is wrong: it goes on")
	}
	if len(d.Do) == 0 {
		d.Do = append(d.Do, "wait: what may be lost is sent again, until the deadline")
	}
}

// reasonAll is about the command as a whole.
func (d *Diagnosis) reasonAll(x *command.Explanation) {
	c := &x.Command
	left := c.TargetCount - c.CompletedCount
	switch {
	case x.Closing == string(message.DetailTerminated):
		d.because("nothing: it ends when these have ended; send again to the others", "%d errors, more than MaxErrors allows (%d): nothing more is started, %d still run", c.ErrorCount, x.ErrorLimit, c.Running)
		return
	case x.Closing == string(message.DetailCancelled):
		d.because("wait for the nodes to confirm, or for the deadline", "it was cancelled, and %d nodes have not confirmed", c.Running)
		return
	case x.Closing != "":
		d.because("nothing: it ends within seconds", "its deadline passed")
		return
	}
	if x.Slots >= x.Concurrency && x.Turn < c.TargetCount {
		d.because("doctor COMMAND NODE for one that holds a slot; cancel there to free it", "all %d slots of MaxConcurrency are in use: %d targets wait for a turn", x.Concurrency, c.TargetCount-x.Turn)
	} else if x.Turn < c.TargetCount && x.Room == 0 {
		d.because("start agents, or wait: it doubles with each answer", "it begins gently: more nodes are asked when those asked have answered (%d have not)", x.Offered)
	}
	if c.Delayed > 0 {
		d.because("see which nodes: get COMMAND; start their agents", "%d of %d nodes left do not answer (Delayed); they hold no slot", c.Delayed, left)
	}
	if len(d.Why) == 0 && c.Running > 0 {
		d.because("watch it", "nothing is wrong: it runs on %d nodes", c.Running)
	}
}

// reasonNode is about one node.
func (d *Diagnosis) reasonNode(x *command.Explanation, n *command.NodeExplanation) {
	nd := d.Node
	switch {
	case nd.Gone:
		d.because("register the machine again and send the command anew", "the node is not registered")
	case n.Phase == command.PhaseDelivered && n.Asked:
		d.because("wait; the deadline ends it in any case", "it was told to stop and has not confirmed")
	case n.Phase == command.PhaseDelivered && n.Reported:
		step := ""
		for _, h := range x.Holders {
			if h.Node == nd.ID && h.Step != "" {
				step = " (step " + h.Step + ")"
			}
		}
		d.because("wait, or cancel COMMAND NODE", "it runs there since %s%s", ago(d.At, n.Result.DeliveredAt), fault.Clean(step))
		d.away("its reports wait there until it is back")
	case n.Phase == command.PhaseDelivered:
		d.because("", "it was told to run %s ago and has not reported yet", ago(d.At, n.Result.DeliveredAt))
		d.away("it is told again when it is back, and starts nothing twice")
	case n.Waiting:
		d.because("doctor COMMAND shows who holds the slots", "the node answered and waits for a free slot (%d of %d in use)", x.Slots, x.Concurrency)
	case n.Phase == command.PhaseDelayed || n.Phase == command.PhaseOffered:
		if nd.Connected {
			d.because("see the agent's log on the node: its disk may be full, or its clock far off", "the node is connected and does not answer the offer")
		} else {
			d.away("it is offered the command again when it is back")
		}
	case x.Closing != "":
		d.because("nothing: it ends within seconds", "it had no turn, and will get none: %s", fault.Clean(x.Closing))
	default:
		d.because("wait for those before it", "it has no turn yet: %d targets are before it", n.Ahead)
		d.reasonAll(x)
	}
}

// away says that the node is not there.
func (d *Diagnosis) away(then string) {
	nd := d.Node
	switch {
	case nd.Connected, nd.Gone:
	case nd.Plane != "":
		d.because("", "the node is connected to another control plane (%s); messages go over the store", fault.Clean(nd.Plane))
	case nd.LastHeard.IsZero():
		d.because("start its agent; "+then, "the node was never heard of")
	default:
		d.because("start its agent, look at its network; "+then, "the node is not connected; it was last heard of %s ago", ago(d.At, nd.LastHeard))
	}
}

const (
	screenWide = 80
	screenHigh = 24
)

// String is the diagnosis on one screen: at most 24 lines of 80 columns.
func (d Diagnosis) String() string {
	s := &screen{}
	x, c := &d.Command, &d.Command.Command
	s.line("COMMAND   %s  %s  %s", c.ID, fault.Clean(c.DocumentName), c.StatusDetails)
	s.line("  sent    %s (%s ago) by %s", clock(c.RequestedDateTime), ago(d.At, c.RequestedDateTime), orDash(c.RequestedBy))
	s.line("  targets %d: %d ended, %d run, %d asked, %d delayed, %d without a turn", c.TargetCount, c.CompletedCount, c.Running, x.Offered, c.Delayed, c.TargetCount-x.Turn)
	if c.EndedDateTime.IsZero() {
		s.line("  slots   %d of %d in use (MaxConcurrency); %d nodes wait for one", x.Slots, x.Concurrency, x.Waiting)
		s.line("  errors  %d; more than %d stop it (MaxErrors)%s", c.ErrorCount, x.ErrorLimit, map[bool]string{true: "; closing: " + x.Closing}[x.Closing != ""])
		s.line("  until   %s (%s)", clock(c.ExpiresAfter), in(d.At, c.ExpiresAfter))
		who := "nobody"
		if d.Owner.Owner != "" {
			who = fmt.Sprintf("%s%s, lease %d, sign of life %s ago", fault.Clean(d.Owner.Owner), map[bool]string{true: " (this one)"}[d.Owner.Mine], d.Owner.Epoch, short(d.Owner.Silent))
		}
		s.line("  owner   %s", who)
		for i, h := range x.Holders {
			if i == 3 {
				s.line("          … and %d more", x.Slots-i)
				break
			}
			label := map[bool]string{true: "  held by "}[i == 0]
			s.line("%-10s%s %s for %s %s", label, fault.Clean(h.Node), map[command.Phase]string{command.PhaseOffered: "asked", command.PhaseDelivered: "runs"}[h.Phase], ago(d.At, h.Since), fault.Clean(h.Step))
		}
	}
	if n := x.Node; n != nil && d.Node != nil {
		s.line("NODE      %s  %s  %s", fault.Clean(d.Node.ID), fault.Clean(d.Node.Name), n.Result.Detail)
		there := "not connected"
		if d.Node.Connected {
			there = "connected here"
		} else if d.Node.Plane != "" {
			there = "connected to " + fault.Clean(d.Node.Plane)
		}
		if !d.Node.LastHeard.IsZero() {
			there += fmt.Sprintf(", last heard of %s (%s ago), %s", clock(d.Node.LastHeard), ago(d.At, d.Node.LastHeard), d.Node.Ping)
		}
		s.line("  link    %s", there)
		if !n.Result.Detail.Terminal() && n.Phase != "" {
			var parts []string
			if !n.AskedAt.IsZero() {
				parts = append(parts, "asked "+ago(d.At, n.AskedAt)+" ago")
			}
			if !n.LastSent.IsZero() {
				parts = append(parts, "last sent "+ago(d.At, n.LastSent)+" ago")
			}
			if !n.NextSend.IsZero() {
				parts = append(parts, "next "+in(d.At, n.NextSend))
			}
			if !n.GivesUp.IsZero() {
				parts = append(parts, "gives up "+in(d.At, n.GivesUp))
			}
			s.line("  offer   %s", strings.Join(parts, ", "))
		}
	}
	s.list("WHY", d.Why, 3)
	s.list("DO", d.Do, 3)
	return s.String()
}

// screen collects lines that fit.
type screen struct{ lines []string }

func (s *screen) line(format string, args ...any) {
	s.lines = append(s.lines, fit(strings.TrimRight(fmt.Sprintf(format, args...), " ")))
}

// list writes texts behind a label, each on at most two lines, as many as there is room for.
func (s *screen) list(label string, texts []string, most int) {
	for i, t := range texts {
		if i == most {
			return
		}
		if i > 0 {
			label = ""
		}
		for n, part := range wrapText(t, screenWide-10) {
			if n == 2 || len(s.lines) == screenHigh {
				break
			}
			if n > 0 {
				label = ""
			}
			s.line("%-10s%s", label, part)
		}
	}
}

func (s *screen) String() string {
	return strings.Join(s.lines[:min(len(s.lines), screenHigh)], "\n") + "\n"
}

// fit cuts a line to the screen.
func fit(line string) string {
	if utf8.RuneCountInString(line) <= screenWide {
		return line
	}
	r := []rune(line)
	return string(r[:screenWide-1]) + "…"
}

// wrapText breaks a text between words.
func wrapText(t string, wide int) (out []string) {
	line := ""
	for _, w := range strings.Fields(t) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > wide {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(out, line)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func short(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return short(now.Sub(t))
}

func in(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := t.Sub(now); d >= 0 {
		return "in " + short(d)
	}
	return short(now.Sub(t)) + " ago"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return fault.Clean(s)
}

// Health is how a control plane stands.
type Health struct {
	At     time.Time       `json:"at"`
	Name   string          `json:"name"`
	Checks []HealthCheck   `json:"checks"`
	Strays []command.Stray `json:"strays,omitempty"` // of the caller's tenant: what nodes know and the store does not
	// StraysDropped counts reports on further such commands, for which there was no room.
	StraysDropped int       `json:"straysDropped,omitempty"`
	Restored      time.Time `json:"restored,omitzero"`
}

// HealthCheck is one thing that was looked at.
type HealthCheck struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Do   string `json:"do,omitempty"` // when it is not OK
}

// OK reports whether all is well.
func (h *Health) OK() bool {
	for _, c := range h.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}

// diskLow is how little room on the disk is called a problem.
const diskLow = 256 << 20

// Health looks at everything that an operator asks first. Each check takes at most some seconds; what is wrong is in the result and no error. It needs fleetwright:Doctor.
func (f *Fleet) Health(ctx context.Context) (h Health, err error) {
	if err := access.Check(ctx, f.cfg.Authorizer, ActionDoctor, "*", nil); err != nil {
		f.Audit.Read(ctx, audit.Of(ActionDoctor, "*", err)) //nolint:errcheck // the refusal stands anyway
		return h, fault.Wrap("fleetwright.Health", err)
	}
	h = Health{At: f.cfg.Now().UTC(), Name: f.cfg.Name}
	if stuck := f.checkStuck(); stuck != nil {
		h.Checks = []HealthCheck{*stuck}
		return h, nil
	}
	h.Checks = f.checks(ctx)
	part, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if h.Strays, h.StraysDropped, err = f.Commands.Strays(part, access.Tenant(ctx)); err != nil {
		h.Checks, err = append(h.Checks, failed("lost", err, "see the store's check")), nil
	}
	var restored restoredRecord
	if f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		restored, err = f.keys.raised.Get(ctx, r, restoredAt())
		return err
	}) == nil {
		h.Restored = restored.At
	}
	if len(h.Strays) > 0 {
		text := fmt.Sprintf("%s: 1 of %d that only nodes know", fault.Clean(h.Strays[0].Command), len(h.Strays))
		if h.StraysDropped > 0 {
			text += "; there are more"
		}
		h.Checks = append(h.Checks, HealthCheck{Name: "lost", Text: text,
			Do: "commands accepted after the restored backup; doctor -o json has all, with their nodes; send again what is still wanted"})
	}
	return h, nil
}

// String is the health on one screen.
func (h Health) String() string {
	s := &screen{}
	s.line("CONTROL PLANE  %s at %s", fault.Clean(h.Name), clock(h.At))
	if !h.Restored.IsZero() {
		s.line("  restored from a backup at %s", clock(h.Restored))
	}
	for _, c := range h.Checks {
		state := "ok  "
		if !c.OK {
			state = "BAD "
		}
		s.line("%s%-11s %s", state, c.Name, fault.Clean(c.Text))
	}
	var do []string
	for _, c := range h.Checks {
		if !c.OK && c.Do != "" {
			do = append(do, c.Name+": "+c.Do)
		}
	}
	s.list("DO", do, 4)
	return s.String()
}
