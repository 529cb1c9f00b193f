package document

// steps are the actions of runbooks (schema 0.3): the action reference, widened where documents of AWS's own do more.
func steps() []ActionSpec {
	v03 := []string{"0.3"}
	opt := func(t InputType, names ...string) (out []InputSpec) {
		for _, n := range names {
			out = append(out, InputSpec{Name: n, Type: t})
		}
		return out
	}
	must := func(t InputType, names ...string) []InputSpec {
		out := opt(t, names...)
		for i := range out {
			out[i].Required = true
		}
		return out
	}
	all := func(lists ...[]InputSpec) (out []InputSpec) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	out := func(pairs ...string) (list []OutputSpec) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, OutputSpec{Name: pairs[i], Type: ParameterType(pairs[i+1])})
		}
		return list
	}
	api := must(StringInput, "Service", "Api")
	property := all(api, must(StringInput, "PropertySelector"), must(ListInput, "DesiredValues"))
	image := out("ImageId", "String", "ImageState", "String")
	stack := out("StackId", "String", "StackStatus", "String", "StackStatusReason", "String")
	stackInputs := all(must(StringInput, "StackName"), opt(AnyInput, "Parameters", "TemplateBody", "Tags", "RollbackConfiguration"), opt(ListInput, "Capabilities", "NotificationARNs", "ResourceTypes"),
		opt(StringInput, "TemplateURL", "ClientRequestToken", "OnFailure", "RoleARN", "StackPolicyBody", "StackPolicyURL"), opt(IntegerInput, "TimeoutInMinutes"), opt(BooleanInput, "DisableRollback", "EnableTerminationProtection"))
	return []ActionSpec{
		{Name: "aws:approve", Schemas: v03, Waits: true, Timeout: 604_800, Cap: 2_592_000, NoCancel: true, Inputs: all(opt(ListInput, "Approvers"), opt(IntegerInput, "MinRequiredApprovals"), opt(StringInput, "Message", "NotificationArn"), opt(AnyInput, "EnhancedApprovals")),
			Outputs: out("ApprovalStatus", "String", "ApproverDecisions", "MapList")},
		{Name: "aws:assertAwsResourceProperty", Schemas: v03, Open: true, Inputs: property},
		{Name: "aws:waitForAwsResourceProperty", Schemas: v03, Waits: true, Timeout: 3600, Open: true, Inputs: property},
		{Name: "aws:branch", Schemas: v03, Inputs: all(must(AnyInput, "Choices"), opt(StringInput, "Default"))},
		{Name: "aws:changeInstanceState", Schemas: v03, Timeout: 3600, Inputs: all(must(ListInput, "InstanceIds"), []InputSpec{{Name: "DesiredState", Type: StringInput, Required: true, Values: []string{"running", "stopped", "terminated"}}},
			opt(BooleanInput, "CheckStateOnly", "Force", "FailOnUnexpectedStopped"), opt(StringInput, "AdditionalInfo")), Outputs: out("InstanceStates", "StringList")},
		{Name: "aws:copyImage", Schemas: v03, NoCancel: true, Inputs: all(must(StringInput, "SourceImageId", "SourceRegion", "ImageName"), opt(StringInput, "ImageDescription", "KmsKeyId", "ClientToken"), opt(BooleanInput, "Encrypted")), Outputs: image},
		{Name: "aws:createImage", Schemas: v03, NoCancel: true, Inputs: all(must(StringInput, "InstanceId", "ImageName"), opt(StringInput, "ImageDescription"), opt(BooleanInput, "NoReboot"), opt(AnyInput, "BlockDeviceMappings")), Outputs: image},
		{Name: "aws:deleteImage", Schemas: v03, Inputs: must(StringInput, "ImageId")},
		{Name: "aws:createStack", Schemas: v03, NoCancel: true, Inputs: stackInputs, Outputs: stack},
		{Name: "aws:updateStack", Schemas: v03, Inputs: all(stackInputs, opt(BooleanInput, "UsePreviousTemplate"), opt(StringInput, "StackPolicyDuringUpdateBody", "StackPolicyDuringUpdateURL")), Outputs: stack},
		{Name: "aws:deleteStack", Schemas: v03, Inputs: all(must(StringInput, "StackName"), opt(StringInput, "ClientRequestToken", "RoleARN"), opt(ListInput, "RetainResources")), Outputs: stack},
		{Name: "aws:createTags", Schemas: v03, NoCancel: true, Inputs: all(must(ListInput, "ResourceIds"), must(AnyInput, "Tags"), opt(StringInput, "ResourceType"))},
		{Name: "aws:executeAutomation", Schemas: v03, Inputs: all(must(StringInput, "DocumentName"), opt(StringInput, "DocumentVersion", "TargetParameterName", "MaxConcurrency", "MaxErrors"),
			opt(AnyInput, "RuntimeParameters", "Targets", "TargetMaps", "TargetLocations", "Tags", "AlarmConfiguration")), Outputs: out("Output", "StringList", "ExecutionId", "String", "Status", "String")},
		{Name: "aws:executeAwsApi", Schemas: v03, Cap: 25, Open: true, Inputs: api},
		{Name: "aws:executeScript", Schemas: v03, Timeout: 600, Cap: 600, Inputs: all(must(StringInput, "Runtime"), opt(StringInput, "Handler", "Script", "Attachment"), opt(AnyInput, "InputPayload")),
			Outputs: out("OutputPayload", "StringMap", "Payload", "String")},
		{Name: "aws:executeStateMachine", Schemas: v03, Inputs: all(must(StringInput, "stateMachineArn"), opt(StringInput, "name"), opt(AnyInput, "input")),
			Outputs: out("executionArn", "String", "input", "String", "name", "String", "output", "String", "startDate", "String", "stopDate", "String", "status", "String", "stateMachineArn", "String")},
		{Name: "aws:invokeLambdaFunction", Schemas: v03, Timeout: 300, Cap: 300, Inputs: all(must(StringInput, "FunctionName"), opt(StringInput, "Qualifier", "InvocationType", "LogType", "ClientContext"), opt(AnyInput, "InputPayload", "Payload")),
			Outputs: out("StatusCode", "Integer", "FunctionError", "String", "LogResult", "String", "Payload", "String")},
		{Name: "aws:invokeWebhook", Schemas: v03, Inputs: all(must(StringInput, "IntegrationName"), opt(StringInput, "Body")), Outputs: out("Response", "String", "ResponseCode", "Integer")},
		{Name: "aws:loop", Schemas: v03, Inputs: all(must(AnyInput, "Steps"), opt(AnyInput, "Iterators", "LoopCondition"), opt(StringInput, "IteratorDataType"), opt(IntegerInput, "MaxIterations")),
			Outputs: out("CurrentIteratorValue", "String", "CurrentIteration", "Integer")},
		{Name: "aws:pause", Schemas: v03, Waits: true, NoCancel: true, Open: true},
		{Name: "aws:runCommand", Schemas: v03, Inputs: all(must(StringInput, "DocumentName"), opt(ListInput, "InstanceIds"), opt(AnyInput, "Targets", "Parameters", "CloudWatchOutputConfig", "NotificationConfig", "AlarmConfiguration"),
			opt(StringInput, "Comment", "DocumentHash", "DocumentHashType", "DocumentVersion", "OutputS3BucketName", "OutputS3KeyPrefix", "OutputS3Region", "ServiceRoleArn", "MaxConcurrency", "MaxErrors"), opt(IntegerInput, "TimeoutSeconds")),
			Outputs: out("CommandId", "String", "Status", "String", "ResponseCode", "Integer", "Output", "String", "CommandPlugins", "StringMap")},
		{Name: "aws:runInstances", Schemas: v03, NoCancel: true, Open: true, Inputs: all(must(StringInput, "ImageId"), opt(StringInput, "InstanceType", "SubnetId", "KeyName", "IamInstanceProfileName", "IamInstanceProfileArn", "UserData", "ClientToken",
			"PrivateIpAddress", "RamDiskId", "KernelId", "InstanceInitiatedShutdownBehavior", "AdditionalInfo"), opt(IntegerInput, "MinInstanceCount", "MaxInstanceCount"), opt(ListInput, "SecurityGroupIds", "SecurityGroups"),
			opt(AnyInput, "TagSpecifications", "MetadataOptions", "BlockDeviceMappings", "NetworkInterfaces", "Placement"), opt(BooleanInput, "DisableApiTermination", "EbsOptimized", "Monitoring")),
			Outputs: out("InstanceIds", "StringList", "InstanceStates", "StringList")},
		{Name: "aws:sleep", Schemas: v03, NoCancel: true, Inputs: opt(StringInput, "Duration", "Timestamp")},
		{Name: "aws:updateVariable", Schemas: v03, Inputs: all(must(StringInput, "Name"), must(AnyInput, "Value"))},
		{Name: "aws:installDistributorPackageOnAzure", Schemas: v03, Internal: true, Open: true},
		{Name: "aws:putServerUpgradeMetrics", Schemas: v03, Internal: true, Open: true},
		{Name: "aws:shareSQLMedia", Schemas: v03, Internal: true, Open: true},
	}
}
