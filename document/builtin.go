package document

// builtin is the table of AWS's actions: what the plugin reference says (P11 to P15), widened where documents of AWS's own do more.
func builtin() []ActionSpec { return append(plugins(), steps()...) }

// plugins are the actions of Command documents.
func plugins() []ActionSpec {
	windows, unix, both := []string{"Windows"}, []string{"Linux", "MacOS"}, []string{"Linux", "Windows"}
	v12, v20, v22 := []string{"1.2", "2.0", "2.2"}, []string{"2.0", "2.2"}, []string{"2.2"}
	script := func(name, shell string, on []string) ActionSpec {
		return ActionSpec{Name: name, Schemas: v12, Platforms: on, Shell: shell, Inputs: []InputSpec{
			{Name: "runCommand", Type: ListInput, Required: true},
			{Name: "timeoutSeconds", Type: IntegerInput},
			{Name: "workingDirectory", Type: StringInput},
			{Name: "environment", Type: MapInput},
			{Name: "id", Type: StringInput},
			{Name: "commands", Type: ListInput}, // 1.2's old name, ignored by the agent
			{Name: "runCommandScript", Type: StringInput},
		}}
	}
	choice := func(name string, required bool, values ...string) InputSpec {
		return InputSpec{Name: name, Type: StringInput, Required: required, Values: values}
	}
	text := func(name string) InputSpec { return InputSpec{Name: name, Type: StringInput} }
	must := func(name string) InputSpec { return InputSpec{Name: name, Type: StringInput, Required: true} }
	return []ActionSpec{
		script("aws:runShellScript", "sh", unix),
		script("aws:runPowerShellScript", "powershell", platforms),
		{Name: "aws:runDocument", Schemas: v22, Platforms: platforms, Inputs: []InputSpec{
			choice("documentType", true, "SSMDocument", "LocalPath"), must("documentPath"), text("documentVersion"),
			{Name: "documentParameters", Type: AnyInput}, text("executionTimeout"), text("timeoutSeconds"),
		}},
		{Name: "aws:downloadContent", Schemas: v20, Platforms: platforms, Inputs: []InputSpec{
			choice("sourceType", true, "GitHub", "Git", "HTTP", "S3", "SSMDocument"),
			{Name: "sourceInfo", Type: AnyInput, Required: true, Secure: true}, text("destinationPath"), text("id"),
		}},
		{Name: "aws:configurePackage", Schemas: v20, Platforms: platforms, Inputs: []InputSpec{
			must("name"), choice("action", true, "Install", "Uninstall"), text("version"),
			choice("installationType", false, "Uninstall and reinstall", "In-place update"),
			{Name: "additionalArguments", Type: AnyInput}, text("repository"), text("id"),
		}},
		{Name: "aws:softwareInventory", Schemas: v20, Platforms: platforms, Inputs: []InputSpec{
			text("applications"), text("awsComponents"), {Name: "files", Type: AnyInput}, text("networkConfig"), text("windowsUpdates"),
			text("instanceDetailedInformation"), text("services"), {Name: "windowsRegistry", Type: AnyInput}, text("windowsRoles"),
			text("customInventory"), text("customInventoryDirectory"), text("billingInfo"),
		}},
		{Name: "fleetwright:patchBaseline", Schemas: v20, Platforms: platforms, Inputs: []InputSpec{ // ours: what AWS-RunPatchBaseline is made of
			must("Operation"), text("RebootOption"), text("SnapshotId"), text("InstallOverrideList"), text("BaselineOverride"),
			text("AssociationId"), text("BaselineTags"), {Name: "Hooks", Type: BooleanInput}, {Name: "EndIfNothingToDo", Type: BooleanInput},
		}},
		{Name: "aws:refreshAssociation", Schemas: v20, Platforms: platforms, Inputs: []InputSpec{{Name: "associationIds", Type: ListInput}}},
		{Name: "aws:configureDocker", Schemas: v20, Platforms: both, Inputs: []InputSpec{choice("action", true, "Install", "Uninstall")}},
		{Name: "aws:runDockerAction", Schemas: v20, Platforms: both, Inputs: []InputSpec{
			must("action"), text("container"), text("image"), text("memory"), text("cpuShares"), {Name: "volume", Type: AnyInput}, text("cmd"), text("env"),
			text("user"), text("publish"), text("workingDirectory"), text("id"), text("timeoutSeconds"),
		}},
		{Name: "aws:applications", Schemas: v12, Platforms: windows, Inputs: []InputSpec{
			choice("action", true, "Install", "Repair", "Uninstall"), must("source"), text("parameters"), text("sourceHash"), text("id"),
		}},
		{Name: "aws:psModule", Schemas: v12, Platforms: windows, Inputs: []InputSpec{
			{Name: "runCommand", Type: ListInput}, text("source"), text("sourceHash"), text("workingDirectory"),
			{Name: "timeoutSeconds", Type: IntegerInput}, text("id"),
		}, Shell: "powershell"},
		{Name: "aws:domainJoin", Schemas: v12, Platforms: both, Inputs: []InputSpec{
			must("directoryId"), must("directoryName"), text("directoryOU"), {Name: "dnsIpAddresses", Type: ListInput}, text("hostname"),
			text("keepHostName"), text("id"),
		}},
		{Name: "aws:cloudWatch", Schemas: v12, Platforms: windows, Inputs: []InputSpec{{Name: "properties", Type: AnyInput}}},
		{Name: "aws:updateAgent", Schemas: v12, Platforms: windows, Inputs: []InputSpec{
			text("agentName"), text("source"), text("allowDowngrade"), text("targetVersion"), text("id"),
		}},
		{Name: "aws:updateSsmAgent", Schemas: v12, Platforms: platforms, Inputs: []InputSpec{
			text("agentName"), text("source"), text("allowDowngrade"), text("targetVersion"), text("id"),
		}},
	}
}
