package patchbaseline

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// order is what a step asks for.
type order struct {
	patch.Run
	snapshot     string
	listLocation string
	// skipRest: the document ends here when there is nothing to install and nothing waits for a reboot.
	skipRest bool
}

// read reads the inputs of a step, and what they point to.
func (a *Action) read(ctx context.Context, inputs map[string]any) (*order, error) {
	const op = "patchbaseline.Inputs"
	text := map[string]string{}
	for _, name := range []string{"Operation", "RebootOption", "SnapshotId", "InstallOverrideList", "BaselineOverride", "AssociationId", "BaselineTags"} {
		v, err := action.Text(inputs, name)
		if err != nil {
			return nil, fault.New(op, fault.InvalidParameters, "%w", err)
		}
		text[name] = strings.TrimSpace(v)
	}
	o := &order{Run: patch.Run{Operation: patch.Operation(text["Operation"]), RebootOption: patch.RebootOption(text["RebootOption"])}, snapshot: text["SnapshotId"], listLocation: text["InstallOverrideList"]}
	for name, to := range map[string]*bool{"Hooks": &o.Hooks, "EndIfNothingToDo": &o.skipRest} {
		v, err := action.Bool(inputs, name)
		if err != nil {
			return nil, fault.New(op, fault.InvalidParameters, "%w", err)
		}
		*to = v
	}
	if o.snapshot != "" {
		if err := patch.CheckSnapshotID(o.snapshot); err != nil {
			return nil, err
		}
	}
	if text["AssociationId"] != "" {
		if err := patch.CheckSnapshotID(text["AssociationId"]); err != nil {
			return nil, fault.New(op, fault.InvalidParameters, "AssociationId is no UUID")
		}
	}
	if text["BaselineTags"] != "" {
		return nil, fault.New(op, fault.InvalidParameters, "BaselineTags: baselines are chosen by patch group here; leave it empty")
	}
	// What is wrong with the combination is wrong whatever the lists say: nothing is fetched then.
	if o.listLocation != "" {
		o.List = patch.OverrideList{}
	}
	if text["BaselineOverride"] != "" {
		o.Override = patch.BaselineOverrides{}
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.List != nil {
		b, err := a.fetch(ctx, "InstallOverrideList", o.listLocation)
		if err != nil {
			return nil, err
		}
		if o.List, err = patch.ParseOverrideList(b); err != nil {
			return nil, fault.Wrap(op, err)
		}
		if o.List == nil {
			o.List = patch.OverrideList{}
		}
		o.listLocation = plain(o.listLocation)
	}
	if o.Override != nil {
		b := []byte(text["BaselineOverride"])
		if b[0] != '[' && b[0] != '{' {
			var err error
			if b, err = a.fetch(ctx, "BaselineOverride", text["BaselineOverride"]); err != nil {
				return nil, err
			}
		}
		var err error
		if o.Override, err = patch.ParseBaselineOverride(b); err != nil {
			return nil, fault.Wrap(op, err)
		}
	}
	return o, nil
}

// plain returns a location without what signs it, short enough to be reported.
func plain(location string) string {
	location, _, _ = strings.Cut(location, "?")
	location, _, _ = strings.Cut(location, "#")
	if len(location) > 256 {
		location = location[:256]
	}
	return fault.Clean(location)
}
