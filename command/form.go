package command

import (
	"context"
	"errors"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Form is the form of commands' records that this release writes; it goes on with those of all older forms. A release that adds to a record what an older one must not lose, or must not
// carry out without, raises it.
//
// Rule R-28: a control plane leaves a command of a higher form alone. It dispatches nothing of it, writes none of its records, removes nothing, and acknowledges nothing to its nodes, which
// say again what they have to say. If a control plane lives that understands more, the part of the commands that it lies in is given to that one; else it waits, which the
// log says once and [observe.Gauges] counts as Foreign, while the other commands go on. Reading it, and leaving the order to cancel it for its owner, is possible everywhere.
//
// The document's kind and actions play no part here: they are checked when the command is sent, and by the nodes (capabilities); who dispatches passes the document on as it is.
const Form = 1

// errForeign: the command is of a form that this release does not know.
var errForeign = errors.New("command: written by a newer release")

// formed is what every form of a command's two records has. An absent number is 1.
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

// foreign reports whether a command is of a form that this release does not know. One that is not there is not.
func (s *Service) isForeign(ctx context.Context, r store.Reader, tenant, id string) (bool, error) {
	forms, err := s.forms.GetMany(ctx, r, [][]byte{commandKey(tenant, id), stateKey(tenant, id)})
	if err != nil {
		return false, err
	}
	for _, f := range forms {
		if f != nil && f.Form > s.cfg.form {
			return true, nil
		}
	}
	return false, nil
}

// refuseForeign returns an error for a message about a command that is left alone: the node will send it again, until it comes to who understands.
func (s *Service) refuseForeign(ctx context.Context, r store.Reader, op, tenant, id string) error {
	switch is, err := s.isForeign(ctx, r, tenant, id); {
	case err != nil:
		return err
	case is:
		return fault.New(op, fault.ServiceUnavailable, "command %s was written by a newer release and is left to it: start a control plane of that release: %w", id, errForeign)
	}
	return nil
}

// leaveAlone notes that a command of an owned shard is of a newer form.
func (s *Service) leaveAlone(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.shard.foreign[a.key] {
		return
	}
	if a.shard.foreign == nil {
		a.shard.foreign = map[actorKey]bool{}
	}
	a.shard.foreign[a.key] = true
	a.log.Warn("the command was written by a newer release and is left alone: it goes on as soon as a control plane of that release runs")
}

// leftAlone reports whether a command of an owned shard is left alone.
func (s *Service) leftAlone(sh *ownedShard, tenant, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sh.foreign[actorKey{tenant, id}]
}
