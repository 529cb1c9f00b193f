// Package patchstore keeps patch baselines, patch groups and what patching found on nodes: the service over the deciding package patch.
//
//	s, err := patchstore.New(patchstore.Config{Store: st, Authorizer: auth, Nodes: nodes})
//	made, err := s.CreatePatchBaseline(ctx, patchstore.CreatePatchBaselineRequest{Baseline: patch.Baseline{Name: "web", OperatingSystem: patch.Debian, …}})
//	_, err = s.RegisterPatchBaselineForPatchGroup(ctx, patchstore.GroupRequest{BaselineID: made.BaselineID, PatchGroup: "web"})
//	states, err := s.DescribeInstancePatchStatesForPatchGroup(ctx, patchstore.StatesForGroupRequest{PatchGroup: "web"})
//
// Names, shapes, limits and errors are AWS's. The predefined baselines are there from the beginning, cannot be changed, and are the defaults of their operating systems until others are.
//
// A node asks for its snapshot ([Service.Snapshot]) and hands its results in ([Service.Report]); both calls are made for a node that has proven who it is. A snapshot freezes the baseline of
// one operation under an id, so that every node of the operation is patched alike whatever happens to the baseline meanwhile (B25).
//
// # Records
//
// Under tenant/"patch": "baseline"/id, "name"…; "default"/os; "group"/group/os; "of"/baseline/group/os the way back; "snapshot"/group/os/id; "state"/node what the last operation found in numbers,
// "patches"/node/chunk in names; "ingroup"/group/node the numbers again, so that a group is one scan; "history"/node/time every operation's numbers; "token"/token of idempotent creation.
package patchstore
