package access

// Action is one row of the table of permissions: what [Check] is asked with (rule R-01).
type Action struct {
	Name        string // as AWS's service authorization reference writes it
	Description string
	Resource    string // the form of the resource that is given along
	Write       bool   // it changes something, and is audited in the transaction of the change
}

// Actions returns the table of permissions, sorted by name: every action that an operation of this module asks for. The slice is the caller's. Faces check
// themselves against it, and hosts list it when they write policies.
func Actions() []Action {
	const (
		w          = true
		r          = false
		document   = "document/NAME"
		nodes      = "node/ID"
		parameter  = "parameter/NAME"
		execution  = "automation-execution/ID"
		definition = "automation-definition/NAME"
		baseline   = "patchbaseline/ID"
		group      = "group/NAME"
		all        = "*"
		any        = "document/NAME, node/ID, parameter/NAME, …"
	)
	return []Action{
		{"cloudtrail:LookupEvents", "Read the record of calls.", all, r},
		{"fleetwright:Backup", "Copy everything of every tenant, sealed as it lies there.", all, r},
		{"fleetwright:Doctor", "See how the control plane is: its store, its leases, its queues.", all, r},
		{"fleetwright:Fsck", "Check every record of every tenant.", all, r},
		{"fleetwright:RewrapParameters", "Wrap the keys of parameters anew, after a rotation.", all, w},
		{"fleetwright:RotateControllerKeys", "Give the control plane new keys, which nodes are led to.", all, w},
		{"resource-groups:CreateGroup", "Create a resource group with a tag query.", group, w},
		{"resource-groups:DeleteGroup", "Delete a resource group; its nodes stay.", group, w},
		{"resource-groups:GetGroup", "Read a resource group and its query.", group, r},
		{"resource-groups:ListGroupResources", "List the nodes of a resource group.", group, r},
		{"resource-groups:ListGroups", "List resource groups.", all, r},
		{"resource-groups:UpdateGroupQuery", "Replace the query of a resource group.", group, w},
		{"ssm:AddTagsToResource", "Set tags of a resource, replacing values of tags that are there.", any, w},
		{"ssm:CancelCommand", "Ask for the end of a command, on all its nodes or on some.", nodes, w},
		{"ssm:CreateActivation", "Make a code with which machines register as managed nodes.", "activation/*", w},
		{"ssm:CreateDocument", "Store a new document.", document, w},
		{"ssm:CreatePatchBaseline", "Store a new patch baseline.", "patchbaseline/*", w},
		{"ssm:DeleteActivation", "Delete an activation; nodes that registered with it stay.", "activation/ID", w},
		{"ssm:DeleteDocument", "Delete a document, or one of its versions.", document, w},
		{"ssm:DeleteInventory", "Delete a custom inventory type, or its data.", all, w},
		{"ssm:DeleteParameter", "Delete a parameter with its history.", parameter, w},
		{"ssm:DeleteParameters", "Delete several parameters.", parameter, w},
		{"ssm:DeletePatchBaseline", "Delete a patch baseline.", baseline, w},
		{"ssm:DeleteResourcePolicy", "End the sharing of a parameter.", parameter, w},
		{"ssm:DeregisterManagedInstance", "Remove a node: nothing is sent to it or taken from it any more.", nodes, w},
		{"ssm:DeregisterPatchBaselineForPatchGroup", "Take a patch group from a baseline.", baseline, w},
		{"ssm:DescribeActivations", "List activations, without their codes.", all, r},
		{"ssm:DescribeAutomationExecutions", "List executions of runbooks.", execution, r},
		{"ssm:DescribeAutomationStepExecutions", "List the steps of an execution.", execution, r},
		{"ssm:DescribeAvailablePatches", "List known patches.", all, r},
		{"ssm:DescribeDocument", "Read what is known about a document, without its text.", document, r},
		{"ssm:DescribeEffectivePatchesForPatchBaseline", "List the patches that a baseline approves at present.", baseline, r},
		{"ssm:DescribeInstanceInformation", "List managed nodes with their presence and facts.", nodes, r},
		{"ssm:DescribeInstancePatchStates", "List what patching found on nodes, in numbers.", nodes, r},
		{"ssm:DescribeInstancePatchStatesForPatchGroup", "List what patching found on the nodes of a patch group.", all, r},
		{"ssm:DescribeInstancePatches", "List the patches of a node with their states.", nodes, r},
		{"ssm:DescribeInventoryDeletions", "List deletions of inventory that are under way or done.", all, r},
		{"ssm:DescribeParameters", "List parameters, without their values.", parameter, r},
		{"ssm:DescribePatchBaselines", "List patch baselines.", baseline, r},
		{"ssm:DescribePatchGroupState", "Read what patching found in a patch group, in numbers.", all, r},
		{"ssm:DescribePatchGroups", "List patch groups with their baselines.", all, r},
		{"ssm:DescribePatchProperties", "List the products, classes and severities that patches have.", all, r},
		{"ssm:GetAutomationExecution", "Read an execution with its steps and outputs.", execution, r},
		{"ssm:GetCommandInvocation", "Read how a command went on one node, with its output.", nodes, r},
		{"ssm:GetConnectionStatus", "Ask whether a node is connected.", nodes, r},
		{"ssm:GetDefaultPatchBaseline", "Read which baseline is the default for an operating system.", all, r},
		{"ssm:GetDeployablePatchSnapshotForInstance", "Read what a node is to patch by.", nodes, r},
		{"ssm:GetDocument", "Read the text of a document.", document, r},
		{"ssm:GetInventory", "Ask the inventory of many nodes.", all, r},
		{"ssm:GetInventorySchema", "List inventory types with their attributes.", all, r},
		{"ssm:GetParameter", "Read the value of a parameter, decrypted where asked for.", parameter, r},
		{"ssm:GetParameterHistory", "Read the versions of a parameter.", parameter, r},
		{"ssm:GetParameters", "Read the values of several parameters.", parameter, r},
		{"ssm:GetParametersByPath", "Read the values of the parameters below a path.", parameter, r},
		{"ssm:GetPatchBaseline", "Read a patch baseline.", baseline, r},
		{"ssm:GetPatchBaselineForPatchGroup", "Read which baseline a patch group has.", all, r},
		{"ssm:GetResourcePolicies", "Read with whom a parameter is shared.", parameter, r},
		{"ssm:LabelParameterVersion", "Attach labels to a version of a parameter.", parameter, w},
		{"ssm:ListCommandInvocations", "List how commands went, node by node.", nodes, r},
		{"ssm:ListCommands", "List commands with their states.", all, r},
		{"ssm:ListComplianceItems", "List compliance items of a node.", nodes, r},
		{"ssm:ListComplianceSummaries", "Sum up compliance by type.", all, r},
		{"ssm:ListDocumentVersions", "List the versions of a document.", document, r},
		{"ssm:ListDocuments", "List documents.", document, r},
		{"ssm:ListInventoryEntries", "List the inventory of a node.", nodes, r},
		{"ssm:ListNodes", "List managed nodes by filters.", nodes, r},
		{"ssm:ListNodesSummary", "Sum up managed nodes.", all, r},
		{"ssm:ListResourceComplianceSummaries", "Sum up compliance by node.", all, r},
		{"ssm:ListTagsForResource", "Read the tags of a resource.", any, r},
		{"ssm:PutComplianceItems", "Report compliance items of a node.", nodes, w},
		{"ssm:PutInventory", "Report inventory of a node.", nodes, w},
		{"ssm:PutParameter", "Create a parameter or a new version of it.", parameter, w},
		{"ssm:PutResourcePolicy", "Share a parameter with others.", parameter, w},
		{"ssm:RegisterDefaultPatchBaseline", "Make a baseline the default for its operating system.", baseline, w},
		{"ssm:RegisterPatchBaselineForPatchGroup", "Give a patch group a baseline.", baseline, w},
		{"ssm:RemoveTagsFromResource", "Remove tags of a resource.", any, w},
		{"ssm:SendAutomationSignal", "Approve, reject, resume or go on in an execution.", execution, w},
		{"ssm:SendCommand", "Run a document on nodes; asked for the document and for each node.", "document/NAME, node/ID", w},
		{"ssm:StartAutomationExecution", "Start a runbook.", definition, w},
		{"ssm:StartExecutionPreview", "Say what a runbook would do, without doing it.", definition, w},
		{"ssm:StopAutomationExecution", "Stop an execution.", execution, w},
		{"ssm:UnlabelParameterVersion", "Take labels from a version of a parameter.", parameter, w},
		{"ssm:UpdateDocument", "Store a new version of a document.", document, w},
		{"ssm:UpdateDocumentDefaultVersion", "Choose the default version of a document.", document, w},
		{"ssm:UpdateDocumentMetadata", "Review a document.", document, w},
		{"ssm:UpdateInstanceInformation", "Change the name under which a node is shown.", nodes, w},
		{"ssm:UpdateManagedInstanceRole", "Change the role that a node is given.", nodes, w},
		{"ssm:UpdatePatchBaseline", "Change a patch baseline.", baseline, w},
	}
}
