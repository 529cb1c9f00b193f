package automation

import (
	"errors"

	"github.com/fleetwright/fleetwright/fault"
)

// Form is the form of executions' records that this release writes; it goes on with those of all older forms. A release that adds to a record, a history or the actions what an older one must
// not lose, or must not go on without, raises it.
//
// Rule R-28: a control plane leaves an execution alone that it does not understand: one of a higher form, one whose stored document this release cannot read (an action or a schema that it does not know), and, while a
// control plane of a newer form lives, one whose next step needs an action that this one was not given. Nothing of it is written, no letter of it is taken, no step of it fails; the
// other executions go on. If a control plane lives that understands more, the part of the executions that it lies in is given to that one; else it waits, which the log says once and
// observe.Gauges counts as Foreign.
//
// An action that no newer release could know of, no such control plane being there, was not given to this one by its host: the step fails and says so.
const Form = 1

// errNewer: the execution is left to a newer release.
var errNewer = errors.New("automation: written by a newer release")

// formed is what every form of a head has. An absent number is 1.
type formed struct {
	Form int `json:"form"`
}

// stamp is how a form is written: the first one is not.
func stamp(form int) int {
	if form <= 1 {
		return 0
	}
	return form
}

func newer(id string) error {
	return fault.New("automation.Load", fault.UnsupportedOperation, "execution %s was written by a newer release and is left to it: ask a control plane of that release: %w", fault.Clean(clip(id)), errNewer)
}

// Foreign returns how many executions of the parts that this control plane owns are left to a newer release.
func (s *Service) Foreign() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.owners {
		n += int(o.alone.Load())
	}
	return n
}

// leaveAlone notes that an execution is left to a newer release, and forgets what was made of it in memory.
func (o *owner) leaveAlone(n name) {
	o.drop(n)
	if o.foreign[n] {
		return
	}
	o.foreign[n] = true
	o.alone.Add(1)
	o.s.cfg.Log.Warn("the execution needs a newer release and is left alone: it goes on as soon as a control plane of that release runs", "execution", n.id, "tenant", n.tenant)
}

// lacks reports whether an effect calls an action that this control plane was not given but a newer one may have been.
func (s *Service) lacks(es []Effect) bool {
	for i := range es {
		if es[i].Kind == Invoke && s.cfg.Actions[es[i].Action].Run == nil {
			return s.older.Load()
		}
	}
	return false
}
