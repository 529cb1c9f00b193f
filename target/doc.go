// Package target says which nodes are meant and how fast they may be reached: the model under everything that works on many nodes.
//
// A list of [Target] selects nodes in AWS's words: `tag:Role`, `tag-key`, `InstanceIds`, `resource-groups:Name` and
// `resource-groups:ResourceTypeFilters`. Values of one target are alternatives, several targets must all hold (spec R8). [Parse] reads what people type, [Validate]
// checks AWS's limits, [Match] decides for one node.
//
//	ts, err := target.Parse("Key=tag:Role,Values=web,db", "Key=tag:Env,Values=prod")
//	if target.Match(node, ts, groups) { … }
//
// [Rate] is a MaxConcurrency or MaxErrors, with the one arithmetic that commands, automations and associations share (spec T1, T2, T6). [Ramp]
// starts gently (R13), and [Plan] shows beforehand which nodes go in which wave and how much can fail at worst.
//
// The package is pure: values in, values out. Nothing in it blocks, and everything is safe for concurrent use.
package target
