package fleetwright

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

// Registry is a node service as the services that report on nodes want it (compliance.Nodes, patchstore.Nodes, fleet.Nodes): which nodes exist, and with which tags. Hosts that put services
// together themselves use it too.
type Registry struct{ Nodes *node.Service }

// Registered returns the tags of a node; ok is false when there is none.
func (r Registry) Registered(ctx context.Context, tenant, id string) (map[string]string, bool, error) {
	tags, err := r.Tags(ctx, tenant, []string{id})
	found, ok := tags[id]
	return found, ok, err
}

// Tags returns the tags of those of the nodes that exist.
func (r Registry) Tags(ctx context.Context, tenant string, ids []string) (map[string]map[string]string, error) {
	found, err := r.Nodes.Nodes(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]map[string]string, len(found))
	for i := range found {
		tags := found[i].Tags
		if tags == nil {
			tags = map[string]string{}
		}
		out[found[i].ID] = tags
	}
	return out, nil
}

// Tagged returns the ids of the nodes whose tag has the value, in ascending order.
func (r Registry) Tagged(ctx context.Context, tenant, tag, value string) (out []string, err error) {
	targets := []target.Target{{Key: "tag:" + tag, Values: []string{value}}}
	for after, more := "", true; more; more = after != "" {
		var page []string
		if page, after, err = r.Nodes.Resolve(ctx, tenant, targets, after, node.MaxResolve); err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

// nodeSelf lets a node do for itself what it asks for: who asks was proven by the message's signature. Everything else is the host's to decide.
type nodeSelf struct{ host access.Authorizer }

type askedBy struct{}

// Authorize implements access.Authorizer.
func (a nodeSelf) Authorize(ctx context.Context, p access.Principal, action, resource string, attributes map[string]string) error {
	if node, ok := ctx.Value(askedBy{}).(string); ok && resource == "node/"+node && slices.Contains([]string{"ssm:PutInventory"}, action) {
		return nil
	}
	if a.host == nil {
		return errors.New("no authorizer")
	}
	return a.host.Authorize(ctx, p, action, resource, attributes)
}

// asNode is the context of what a node asks for.
func asNode(ctx context.Context, tenant, node string) context.Context {
	return context.WithValue(access.With(ctx, access.Principal{Tenant: tenant, Name: "node/" + node}), askedBy{}, node)
}

// nodeOps are what nodes may ask for: what the services answer, and what the host added.
func (f *Fleet) nodeOps() map[string]NodeOp {
	ops := map[string]NodeOp{
		"PutComplianceItems": nodeOp(func(ctx context.Context, tenant, node string, in compliance.PutComplianceItemsRequest) (struct{}, error) {
			return struct{}{}, f.Compliance.Report(ctx, tenant, node, in)
		}),
		"PutInventory": nodeOp(func(ctx context.Context, tenant, node string, in inventory.Report) (inventory.Ack, error) {
			in.InstanceID = node
			return f.Inventory.PutInventory(asNode(ctx, tenant, node), in)
		}),
		"GetDeployablePatchSnapshotForInstance": nodeOp(f.Patches.Snapshot),
		"PutPatchReport": nodeOp(func(ctx context.Context, tenant, node string, in patch.Report) (struct{}, error) {
			if err := f.Patches.Report(ctx, tenant, node, in); err != nil || in.Override {
				return struct{}{}, err
			}
			return struct{}{}, f.Compliance.Report(ctx, tenant, node, PatchCompliance(in))
		}),
	}
	maps.Copy(ops, f.cfg.NodeOps)
	return ops
}

// nodeOp gives a typed operation its JSON.
func nodeOp[In, Out any](do func(ctx context.Context, tenant, node string, in In) (Out, error)) NodeOp {
	return func(ctx context.Context, tenant, node string, input []byte) ([]byte, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, fault.New("fleetwright.Ask", fault.Validation, "the input is not what the operation takes: %w", err)
		}
		out, err := do(ctx, tenant, node, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// PatchCompliance returns what a patch report says as compliance items of type Patch: one for each patch that has a compliance, as AWS's agents report them.
func PatchCompliance(r patch.Report) compliance.PutComplianceItemsRequest {
	out := compliance.PutComplianceItemsRequest{ComplianceType: compliance.TypePatch, Items: []compliance.ItemEntry{},
		ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: r.Ended, ExecutionID: r.CommandID, ExecutionType: "Command"}}
	for i := range r.Patches {
		p := &r.Patches[i]
		if p.Compliance == "" || len(out.Items) == 10_000 {
			continue
		}
		item := compliance.ItemEntry{ID: shorten(p.Key.String(), 100), Title: shorten(p.Title, 500), Severity: cmp.Or(string(p.Level), compliance.Unspecified), Status: string(p.Compliance),
			Details: map[string]string{"PatchState": string(p.State), "PatchBaselineId": r.BaselineID}}
		for name, v := range map[string]string{"Classification": p.Classification, "PatchSeverity": p.Severity, "PatchGroup": r.PatchGroup, "InstalledVersion": p.Installed, "WantedVersion": p.Wanted} {
			if v != "" {
				item.Details[name] = v
			}
		}
		out.Items = append(out.Items, item)
	}
	return out
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) > most {
		return string(r[:most])
	}
	return s
}

// gone removes what the services show of a node that is deregistered, in the same transaction.
func (f *Fleet) gone(ctx context.Context, tx store.Tx, tenant, id string) error {
	forgets := []func(context.Context, store.Tx, string, string) error{f.Inventory.ForgetNode, f.Patches.ForgetNode, f.Compliance.ForgetNode}
	if f.places != nil {
		forgets = append(forgets, f.places.Forget)
	}
	for _, forget := range forgets {
		if err := forget(ctx, tx, tenant, id); err != nil {
			return err
		}
	}
	return nil
}
