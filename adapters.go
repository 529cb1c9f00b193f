package fleetwright

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/node"
)

// Registry returns a node service as the services that report on nodes want it (compliance.Nodes): does a node exist, and with which tags. Hosts that put services together themselves use it too.
func Registry(nodes *node.Service) compliance.Nodes { return registry{nodes} }

type registry struct{ nodes *node.Service }

// Registered returns the tags of a node; ok is false when there is none.
func (r registry) Registered(ctx context.Context, tenant, id string) (map[string]string, bool, error) {
	found, err := r.nodes.Nodes(ctx, tenant, []string{id})
	if err != nil || len(found) == 0 {
		return nil, false, err
	}
	return found[0].Tags, true, nil
}

// nodeOps are what nodes may ask for: what the services answer, and what the host added.
func (f *Fleet) nodeOps() map[string]NodeOp {
	ops := map[string]NodeOp{
		"PutComplianceItems": nodeOp(func(ctx context.Context, tenant, node string, in compliance.PutComplianceItemsRequest) (struct{}, error) {
			return struct{}{}, f.Compliance.Report(ctx, tenant, node, in)
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
