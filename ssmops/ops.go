package ssmops

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch/patchstore"
)

// Operation is one row of the table of what can be called.
type Operation struct {
	Name       string // SendCommand
	Permission string // the action that the authorizer is asked for: ssm:SendCommand (see access.Actions)
	Summary    string
	Own        bool // fleetwright's own: AWS Systems Manager has no such operation
	Streams    bool // it answers with a stream

	needs   service
	records recorder
	call    func(ctx context.Context, a *API, in []byte) (out any, resource string, err error)
	stream  func(ctx context.Context, a *API, in []byte, to *sink) (resource string, err error)
}

// service says which service an operation needs.
type service uint8

const (
	needsCommands service = iota
	needsNodes
	needsDocuments
	needsTaggable
	needsAudit
	needsCompliance
	needsParameters
	needsSharing
	needsPatches
	needsInventory
	needsAutomations
)

func (o *Operation) available(s *Services) bool {
	switch o.needs {
	case needsCommands:
		return s.Commands != nil
	case needsNodes:
		return s.Nodes != nil
	case needsDocuments:
		return s.Documents != nil
	case needsTaggable:
		return s.Nodes != nil || s.Documents != nil || s.Parameters != nil || s.Patches != nil
	case needsCompliance:
		return s.Compliance != nil
	case needsPatches:
		return s.Patches != nil
	case needsInventory:
		return s.Inventory != nil
	case needsAutomations:
		return s.Automations != nil
	case needsParameters:
		return s.Parameters != nil
	case needsSharing:
		_, ok := s.Parameters.(parameter.Sharer)
		return ok
	}
	return s.Audit != nil
}

// recorder says which calls the service itself writes to the audit log; the API writes the others.
type recorder uint8

const (
	everything recorder = iota
	writes              // what it changed, and refusals
	refusals            // refusals only
	nothing
)

// resourced is a request that names what it is about, as access.Check and the audit log write it.
type resourced interface{ resource() string }

func resourceOf(in any) string {
	if r, ok := in.(resourced); ok {
		return r.resource()
	}
	return "*"
}

func call[In any](op string, f func(*API, context.Context, *In) (any, error)) func(context.Context, *API, []byte) (any, string, error) {
	return func(ctx context.Context, a *API, b []byte) (any, string, error) {
		var in In
		if err := decode("ssmops."+op, b, &in); err != nil {
			return nil, "*", err
		}
		out, err := f(a, ctx, &in)
		return out, resourceOf(&in), err
	}
}

func stream[In any](op string, f func(*API, context.Context, *In, *sink) error) func(context.Context, *API, []byte, *sink) (string, error) {
	return func(ctx context.Context, a *API, b []byte, to *sink) (string, error) {
		var in In
		if err := decode("ssmops."+op, b, &in); err != nil {
			return "*", err
		}
		return resourceOf(&in), f(a, ctx, &in, to)
	}
}

// add completes a row: the permission is that of AWS's operation of the same name unless the row says otherwise.
func add[In any](r Operation, f func(*API, context.Context, *In) (any, error)) Operation {
	if r.Permission == "" {
		r.Permission = "ssm:" + r.Name
	}
	r.call = call(r.Name, f)
	return r
}

// pass completes a row whose request and answer are those of a service's method: they have AWS's members already (see wireOf).
func pass[S, In, Out any](r Operation, service func(*API) S, method func(S, context.Context, In) (Out, error)) Operation {
	if r.Permission == "" {
		r.Permission = "ssm:" + r.Name
	}
	r.call = func(ctx context.Context, a *API, b []byte) (any, string, error) {
		var in In
		if err := fromWire("ssmops."+r.Name, b, &in); err != nil {
			return nil, "*", err
		}
		out, err := method(service(a), ctx, in)
		if err != nil {
			return nil, "*", err
		}
		w, err := wireOf(out)
		return json.RawMessage(w), "*", err
	}
	return r
}

func addStream[In any](r Operation, f func(*API, context.Context, *In, *sink) error) Operation {
	r.Streams, r.stream = true, stream(r.Name, f)
	return r
}

func parametersOf(a *API) parameter.Store { return a.Parameters }

// sharerOf is called only where needsSharing holds.
func sharerOf(a *API) parameter.Sharer {
	s, _ := a.Parameters.(parameter.Sharer)
	return s
}

func patchesOf(a *API) *patchstore.Service { return a.Patches }

func inventoryOf(a *API) *fleet.Service { return a.Inventory }

func complianceOf(a *API) *compliance.Service { return a.Compliance }

// Operations returns the table, sorted by name: every operation that a control plane answers. The slice is the caller's. It is the only place where an operation gets a
// name, so that what is not here cannot be called.
func Operations() []Operation {
	ops := []Operation{
		// Commands.
		add(Operation{Name: "SendCommand", Summary: "Run a document on nodes.", needs: needsCommands, records: writes}, (*API).sendCommand),
		add(Operation{Name: "CancelCommand", Summary: "Ask for the end of a command, on all its nodes or on some.", needs: needsCommands, records: writes}, (*API).cancelCommand),
		add(Operation{Name: "ListCommands", Summary: "List commands, the newest first.", needs: needsCommands, records: refusals}, (*API).listCommands),
		add(Operation{Name: "ListCommandInvocations", Summary: "List how commands went, node by node.", needs: needsCommands, records: refusals}, (*API).listCommandInvocations),
		add(Operation{Name: "GetCommandInvocation", Summary: "Read how a command went on one node.", needs: needsCommands, records: refusals}, (*API).getCommandInvocation),
		add(Operation{Name: "PlanCommand", Permission: "ssm:SendCommand", Own: true, Summary: "Say what SendCommand would do, without doing it.", needs: needsCommands, records: nothing}, (*API).planCommand),
		addStream(Operation{Name: "WatchCommand", Permission: "ssm:ListCommandInvocations", Own: true, Summary: "Follow a command live.", needs: needsCommands, records: refusals}, (*API).watchCommand),
		addStream(Operation{Name: "GetCommandOutput", Permission: "ssm:GetCommandInvocation", Own: true, Summary: "Read all that a step wrote.", needs: needsCommands, records: refusals}, (*API).getCommandOutput),

		// Documents.
		add(Operation{Name: "CreateDocument", Summary: "Store a new document.", needs: needsDocuments}, (*API).createDocument),
		add(Operation{Name: "UpdateDocument", Summary: "Store a new version of a document.", needs: needsDocuments}, (*API).updateDocument),
		add(Operation{Name: "UpdateDocumentDefaultVersion", Summary: "Choose the default version of a document.", needs: needsDocuments}, (*API).updateDocumentDefaultVersion),
		add(Operation{Name: "GetDocument", Summary: "Read the text of a document.", needs: needsDocuments}, (*API).getDocument),
		add(Operation{Name: "DescribeDocument", Summary: "Read what is known about a document.", needs: needsDocuments}, (*API).describeDocument),
		add(Operation{Name: "ListDocuments", Summary: "List documents.", needs: needsDocuments}, (*API).listDocuments),
		add(Operation{Name: "ListDocumentVersions", Summary: "List the versions of a document.", needs: needsDocuments}, (*API).listDocumentVersions),
		add(Operation{Name: "DeleteDocument", Summary: "Delete a document, or one of its versions.", needs: needsDocuments}, (*API).deleteDocument),

		// Nodes.
		add(Operation{Name: "CreateActivation", Summary: "Make a code with which machines register.", needs: needsNodes}, (*API).createActivation),
		add(Operation{Name: "DescribeActivations", Summary: "List activations, without their codes.", needs: needsNodes}, (*API).describeActivations),
		add(Operation{Name: "DeleteActivation", Summary: "Delete an activation; nodes that registered with it stay.", needs: needsNodes}, (*API).deleteActivation),
		add(Operation{Name: "DescribeInstanceInformation", Summary: "List nodes with their presence and facts.", needs: needsNodes}, (*API).describeInstanceInformation),
		add(Operation{Name: "DeregisterManagedInstance", Summary: "Remove a node.", needs: needsNodes}, (*API).deregisterManagedInstance),
		add(Operation{Name: "UpdateManagedInstanceRole", Summary: "Change the role that is kept with a node.", needs: needsNodes}, (*API).updateManagedInstanceRole),
		add(Operation{Name: "UpdateInstanceName", Permission: "ssm:UpdateInstanceInformation", Own: true, Summary: "Change the name under which a node is shown.", needs: needsNodes}, (*API).updateInstanceName),

		// Tags.
		add(Operation{Name: "AddTagsToResource", Summary: "Set tags of a node, document, parameter or baseline.", needs: needsTaggable}, (*API).addTagsToResource),
		add(Operation{Name: "RemoveTagsFromResource", Summary: "Remove tags of a node, document, parameter or baseline.", needs: needsTaggable}, (*API).removeTagsFromResource),
		add(Operation{Name: "ListTagsForResource", Summary: "Read the tags of a node, document, parameter or baseline.", needs: needsTaggable}, (*API).listTagsForResource),

		// Resource groups, at AWS a service of its own.
		add(Operation{Name: "CreateGroup", Permission: "resource-groups:CreateGroup", Own: true, Summary: "Create a resource group with a tag query.", needs: needsNodes}, (*API).createGroup),
		add(Operation{Name: "GetGroup", Permission: "resource-groups:GetGroup", Own: true, Summary: "Read a resource group and its query.", needs: needsNodes}, (*API).getGroup),
		add(Operation{Name: "UpdateGroupQuery", Permission: "resource-groups:UpdateGroupQuery", Own: true, Summary: "Replace the query of a resource group.", needs: needsNodes}, (*API).updateGroupQuery),
		add(Operation{Name: "DeleteGroup", Permission: "resource-groups:DeleteGroup", Own: true, Summary: "Delete a resource group; its nodes stay.", needs: needsNodes}, (*API).deleteGroup),
		add(Operation{Name: "ListGroups", Permission: "resource-groups:ListGroups", Own: true, Summary: "List resource groups.", needs: needsNodes}, (*API).listGroups),
		add(Operation{Name: "ListGroupResources", Permission: "resource-groups:ListGroupResources", Own: true, Summary: "List the nodes of a resource group.", needs: needsNodes}, (*API).listGroupResources),

		// Parameters.
		pass(Operation{Name: "PutParameter", Summary: "Create a parameter or a new version of it.", needs: needsParameters}, parametersOf, parameter.Store.PutParameter),
		pass(Operation{Name: "GetParameter", Summary: "Read the value of a parameter.", needs: needsParameters}, parametersOf, parameter.Store.GetParameter),
		pass(Operation{Name: "GetParameters", Summary: "Read the values of several parameters.", needs: needsParameters}, parametersOf, parameter.Store.GetParameters),
		pass(Operation{Name: "GetParametersByPath", Summary: "Read the values of the parameters below a path.", needs: needsParameters}, parametersOf, parameter.Store.GetParametersByPath),
		pass(Operation{Name: "GetParameterHistory", Summary: "Read the versions of a parameter.", needs: needsParameters}, parametersOf, parameter.Store.GetParameterHistory),
		pass(Operation{Name: "DescribeParameters", Summary: "List parameters, without their values.", needs: needsParameters}, parametersOf, parameter.Store.DescribeParameters),
		pass(Operation{Name: "LabelParameterVersion", Summary: "Attach labels to a version of a parameter.", needs: needsParameters}, parametersOf, parameter.Store.LabelParameterVersion),
		pass(Operation{Name: "UnlabelParameterVersion", Summary: "Take labels from a version of a parameter.", needs: needsParameters}, parametersOf, parameter.Store.UnlabelParameterVersion),
		pass(Operation{Name: "DeleteParameter", Summary: "Delete a parameter with its history.", needs: needsParameters}, parametersOf, parameter.Store.DeleteParameter),
		pass(Operation{Name: "DeleteParameters", Summary: "Delete several parameters.", needs: needsParameters}, parametersOf, parameter.Store.DeleteParameters),
		pass(Operation{Name: "PutResourcePolicy", Summary: "Share a parameter with others.", needs: needsSharing}, sharerOf, parameter.Sharer.PutResourcePolicy),
		pass(Operation{Name: "GetResourcePolicies", Summary: "Read with whom a parameter is shared.", needs: needsSharing}, sharerOf, parameter.Sharer.GetResourcePolicies),
		pass(Operation{Name: "DeleteResourcePolicy", Summary: "End the sharing of a parameter.", needs: needsSharing}, sharerOf, parameter.Sharer.DeleteResourcePolicy),

		// Patches.
		pass(Operation{Name: "CreatePatchBaseline", Summary: "Store a new patch baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).CreatePatchBaseline),
		pass(Operation{Name: "UpdatePatchBaseline", Summary: "Change a patch baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).UpdatePatchBaseline),
		pass(Operation{Name: "GetPatchBaseline", Summary: "Read a patch baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).GetPatchBaseline),
		pass(Operation{Name: "DeletePatchBaseline", Summary: "Delete a patch baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).DeletePatchBaseline),
		pass(Operation{Name: "DescribePatchBaselines", Summary: "List patch baselines.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribePatchBaselines),
		pass(Operation{Name: "RegisterDefaultPatchBaseline", Summary: "Make a baseline the default for its operating system.", needs: needsPatches}, patchesOf, (*patchstore.Service).RegisterDefaultPatchBaseline),
		pass(Operation{Name: "GetDefaultPatchBaseline", Summary: "Read which baseline is the default for an operating system.", needs: needsPatches}, patchesOf, (*patchstore.Service).GetDefaultPatchBaseline),
		pass(Operation{Name: "RegisterPatchBaselineForPatchGroup", Summary: "Give a patch group a baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).RegisterPatchBaselineForPatchGroup),
		pass(Operation{Name: "DeregisterPatchBaselineForPatchGroup", Summary: "Take a patch group from a baseline.", needs: needsPatches}, patchesOf, (*patchstore.Service).DeregisterPatchBaselineForPatchGroup),
		pass(Operation{Name: "GetPatchBaselineForPatchGroup", Summary: "Read which baseline a patch group has.", needs: needsPatches}, patchesOf, (*patchstore.Service).GetPatchBaselineForPatchGroup),
		pass(Operation{Name: "DescribePatchGroups", Summary: "List patch groups with their baselines.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribePatchGroups),
		pass(Operation{Name: "DescribePatchGroupState", Summary: "Read what patching found in a patch group, in numbers.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribePatchGroupState),
		pass(Operation{Name: "DescribePatchProperties", Summary: "List the products, classes and severities that patches have.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribePatchProperties),
		pass(Operation{Name: "DescribeAvailablePatches", Summary: "List known patches.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribeAvailablePatches),
		pass(Operation{Name: "DescribeEffectivePatchesForPatchBaseline", Summary: "List the patches that a baseline approves, or will.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribeEffectivePatchesForPatchBaseline),
		pass(Operation{Name: "DescribeInstancePatches", Summary: "List the patches of a node with their states.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribeInstancePatches),
		pass(Operation{Name: "DescribeInstancePatchStates", Summary: "List what patching found on nodes, in numbers.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribeInstancePatchStates),
		pass(Operation{Name: "DescribeInstancePatchStatesForPatchGroup", Summary: "List what patching found on the nodes of a patch group.", needs: needsPatches}, patchesOf, (*patchstore.Service).DescribeInstancePatchStatesForPatchGroup),
		pass(Operation{Name: "GetDeployablePatchSnapshotForInstance", Summary: "Read what a node is to patch by.", needs: needsPatches}, patchesOf, (*patchstore.Service).GetDeployablePatchSnapshotForInstance),

		// Inventory.
		pass(Operation{Name: "PutInventory", Summary: "Report inventory of a node.", needs: needsInventory}, inventoryOf, (*fleet.Service).PutInventory),
		pass(Operation{Name: "GetInventory", Summary: "Ask the inventory of many nodes.", needs: needsInventory}, inventoryOf, (*fleet.Service).GetInventory),
		pass(Operation{Name: "ListInventoryEntries", Summary: "Read the entries of a type on a node.", needs: needsInventory}, inventoryOf, (*fleet.Service).ListInventoryEntries),
		pass(Operation{Name: "GetInventorySchema", Summary: "List inventory types with their attributes.", needs: needsInventory}, inventoryOf, (*fleet.Service).GetInventorySchema),
		pass(Operation{Name: "DeleteInventory", Summary: "Delete a custom inventory type, or its data.", needs: needsInventory}, inventoryOf, (*fleet.Service).DeleteInventory),
		pass(Operation{Name: "DescribeInventoryDeletions", Summary: "List deletions of inventory that are under way or done.", needs: needsInventory}, inventoryOf, (*fleet.Service).DescribeInventoryDeletions),
		pass(Operation{Name: "ListInventoryChanges", Permission: "ssm:ListInventoryEntries", Own: true, Summary: "Say what changed on a node.", needs: needsInventory}, inventoryOf, (*fleet.Service).ListInventoryChanges),

		// Compliance.
		pass(Operation{Name: "PutComplianceItems", Summary: "Report compliance items of a node.", needs: needsCompliance}, complianceOf, (*compliance.Service).PutComplianceItems),
		pass(Operation{Name: "ListComplianceItems", Summary: "List compliance items of a node.", needs: needsCompliance}, complianceOf, (*compliance.Service).ListComplianceItems),
		pass(Operation{Name: "ListComplianceSummaries", Summary: "Sum up compliance by type.", needs: needsCompliance}, complianceOf, (*compliance.Service).ListComplianceSummaries),
		pass(Operation{Name: "GetComplianceAt", Permission: "ssm:ListComplianceItems", Own: true, Summary: "Say whether a node was compliant at a time, and why.", needs: needsCompliance}, complianceOf, complianceAt),
		pass(Operation{Name: "ListComplianceHistory", Permission: "ssm:ListComplianceItems", Own: true, Summary: "List the reports of a type on a node.", needs: needsCompliance}, complianceOf, complianceHistory),
		pass(Operation{Name: "ListResourceComplianceSummaries", Summary: "Sum up compliance by node.", needs: needsCompliance}, complianceOf, (*compliance.Service).ListResourceComplianceSummaries),

		// Automations.
		add(Operation{Name: "StartAutomationExecution", Summary: "Start a runbook.", needs: needsAutomations}, (*API).startAutomationExecution),
		add(Operation{Name: "StopAutomationExecution", Summary: "Stop an execution of a runbook.", needs: needsAutomations}, (*API).stopAutomationExecution),
		add(Operation{Name: "SendAutomationSignal", Summary: "Approve, reject, resume or go on in an execution.", needs: needsAutomations}, (*API).sendAutomationSignal),
		add(Operation{Name: "GetAutomationExecution", Summary: "Read an execution with its steps and outputs.", needs: needsAutomations}, (*API).getAutomationExecution),
		add(Operation{Name: "DescribeAutomationExecutions", Summary: "List executions of runbooks.", needs: needsAutomations}, (*API).describeAutomationExecutions),
		add(Operation{Name: "DescribeAutomationStepExecutions", Summary: "List the steps of an execution.", needs: needsAutomations}, (*API).describeAutomationStepExecutions),
		add(Operation{Name: "PreviewAutomationExecution", Permission: "ssm:StartExecutionPreview", Own: true, Summary: "Say what a runbook would do, without doing it.", needs: needsAutomations}, (*API).previewAutomationExecution),

		// The record of calls.
		add(Operation{Name: "ListAudit", Permission: "cloudtrail:LookupEvents", Own: true, Summary: "Read the record of calls.", needs: needsAudit, records: nothing}, (*API).listAudit),
	}
	slices.SortFunc(ops, func(a, b Operation) int { return strings.Compare(a.Name, b.Name) })
	return ops
}
