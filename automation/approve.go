package automation

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of aws:approve.
const (
	mostApprovers = 10
	mostMessage   = 4096
)

// council is who decides on a step.
type council struct {
	who   []string
	need  []int // how many of each; nil: Min of all together
	least int
}

// councilOf reads the inputs of aws:approve. EnhancedApprovals, which change templates have, says of each approver (a user, a group, a role) how many of it
// must agree.
func councilOf(in map[string]any) (c council, f *Failure) {
	c.least = 1
	if v, ok := in["MinRequiredApprovals"]; ok && v != nil {
		n, ok := whole(v)
		if !ok || n < 1 || n > 1000 {
			return c, invalid("MinRequiredApprovals must be a whole number of at least 1")
		}
		c.least = int(n)
	}
	if e, ok := in["EnhancedApprovals"].(map[string]any); ok {
		list, _ := e["Approvers"].([]any)
		for _, it := range list {
			m, _ := it.(map[string]any)
			name := text(orNil(m["approver"]))
			n, ok := whole(m["minRequiredApprovals"])
			if !ok || n < 1 {
				n = 1
			}
			if name == "" || n > 1000 {
				return c, invalid("an approver of EnhancedApprovals needs approver and minRequiredApprovals")
			}
			c.who, c.need = append(c.who, name), append(c.need, int(n))
		}
	} else {
		switch v := in["Approvers"].(type) {
		case []any:
			for _, it := range v {
				c.who = append(c.who, text(it))
			}
		case string:
			c.who = []string{v}
		}
	}
	switch {
	case len(c.who) == 0 || slices.Contains(c.who, ""):
		return c, invalid("Approvers names nobody")
	case len(c.who) > mostApprovers:
		return c, invalid("there are %d Approvers, at most %d are allowed", len(c.who), mostApprovers)
	case c.need == nil && c.least > len(c.who):
		// A role or a group is one name and many people, so that this may yet be reached: who decides is counted, not the names.
		if !slices.ContainsFunc(c.who, many) {
			return c, invalid("MinRequiredApprovals is %d, and there are %d Approvers", c.least, len(c.who))
		}
	case utf8.RuneCountInString(text(orNil(in["Message"]))) > mostMessage:
		return c, invalid("Message has more than %d characters", mostMessage)
	}
	return c, nil
}

// many reports whether a name stands for several people.
func many(name string) bool {
	return strings.Contains(name, ":role/") || strings.Contains(name, ":group/") || strings.Contains(name, ":assumed-role/")
}

// names are the names that the sender of a signal has.
func (s *Signal) names() []string { return append([]string{s.By}, s.As...) }

// seat returns which approver somebody is, -1 for none.
func (c *council) seat(names []string) int {
	return slices.IndexFunc(c.who, func(w string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return n != "" && (n == w || strings.HasSuffix(n, ":user/"+w)) })
	})
}

// approve asks the approvers.
func (r *run) approve(i int) {
	rec := &r.x.Steps[i]
	if _, f := councilOf(rec.Inputs); f != nil {
		r.failed(i, Failed, f, false)
		return
	}
	rec.Status = Waiting
	rec.Outputs = decisions("Waiting", nil)
	r.wait()
	r.out = append(r.out, Effect{Kind: Ask, StepID: rec.ID, Step: rec.Name, Action: rec.Action, Attempt: rec.Attempt, Inputs: rec.Inputs, Deadline: rec.Deadline, Token: rec.Token})
}

// decisions are the outputs of aws:approve.
func decisions(status string, ds []Decision) map[string]any {
	list := make([]any, len(ds))
	for i, d := range ds {
		word := "Approve"
		if !d.Approve {
			word = "Reject"
		}
		list[i] = map[string]any{"Approver": d.By, "Decision": word, "Comment": d.Comment, "Time": d.At.UTC().Format(time.RFC3339)}
	}
	return map[string]any{"ApprovalStatus": status, "ApproverDecisions": list}
}

// decide takes a decision that was checked. One Reject fails the step; it is done when so many different people approved as are needed.
func (r *run) decide(i int, s *Signal) {
	rec := &r.x.Steps[i]
	c, _ := councilOf(rec.Inputs)
	if s.Type == Revoke {
		rec.Decisions = slices.DeleteFunc(rec.Decisions, func(d Decision) bool { return d.By == s.By })
		rec.Outputs = decisions("Waiting", rec.Decisions)
		return
	}
	rec.Decisions = append(rec.Decisions, Decision{By: s.By, Approve: s.Type == Approve, Comment: s.Comment, At: r.now, Seat: c.seat(s.names())})
	if s.Type == Reject {
		rec.Outputs = decisions("Rejected", rec.Decisions)
		r.finish(i, Failed, &Failure{Stage: Invocation, Type: ActionFailure, Message: "an approver rejected it", Details: map[string][]string{"RejectedBy": {s.By}}})
		return
	}
	if !c.agreed(rec.Decisions) {
		rec.Outputs = decisions("Waiting", rec.Decisions)
		return
	}
	rec.Outputs = decisions("Approved", rec.Decisions)
	r.finish(i, Success, nil)
}

// agreed reports whether enough have approved.
func (c *council) agreed(ds []Decision) bool {
	if c.need == nil {
		return len(ds) >= c.least
	}
	for seat, need := range c.need {
		n := 0
		for _, d := range ds {
			if d.Seat == seat {
				n++
			}
		}
		if n < need {
			return false
		}
	}
	return true
}
