package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/ssmops"
)

func patchVerbs() []verb {
	return []verb{
		{name: "nodes", args: "[NODE…]", summary: "what the last operation found on nodes, in numbers", flags: func(fs *flag.FlagSet) {
			fs.String("group", "", "the nodes that reported as ones of this patch `group`")
		}, run: (*app).patchNodes},
		{name: "list", args: "NODE", summary: "list the patches of a node", flags: patchListFlags, run: (*app).listPatches},
		{name: "group", args: "GROUP", summary: "count the nodes of a patch group by what was found", run: (*app).patchGroup},
		{name: "groups", summary: "list patch groups with their baselines", run: (*app).patchGroups},
		{name: "baselines", summary: "list baselines", flags: func(fs *flag.FlagSet) {
			fs.Bool("own", false, "without the predefined ones")
			fs.String("os", "", "only those for this operating `system`: DEBIAN, UBUNTU, AMAZON_LINUX_2023 …")
		}, run: (*app).patchBaselines},
		{name: "baseline", args: "ID", summary: "print a baseline as JSON, as update takes it", run: (*app).patchBaseline},
		{name: "create", args: "FILE", summary: "store a new baseline, JSON as CreatePatchBaseline of AWS has it", flags: func(fs *flag.FlagSet) {
			fs.String("tags", "", "as `Team=web,Env=prod`")
		}, run: (*app).createBaseline},
		{name: "update", args: "ID FILE", summary: "change what stands in the file", flags: func(fs *flag.FlagSet) {
			fs.Bool("replace", false, "the file takes the place of the whole baseline")
		}, run: (*app).updateBaseline},
		{name: "delete", args: "ID", summary: "delete a baseline", run: (*app).deleteBaseline},
		{name: "default", args: "ID", summary: "make a baseline the default for its operating system", run: (*app).defaultBaseline},
		{name: "register", args: "ID GROUP", summary: "give a patch group a baseline", run: (*app).registerBaseline},
		{name: "deregister", args: "ID GROUP", summary: "take it away again", run: (*app).deregisterBaseline},
		{name: "scan", args: "-targets …", summary: "look what nodes lack, without installing: run -document AWS-RunPatchBaseline", flags: sendFlags, run: (*app).patchScan},
		{name: "install", args: "-targets …", summary: "install what nodes lack", flags: func(fs *flag.FlagSet) {
			sendFlags(fs)
			fs.String("reboot", "", "`option`: RebootIfNeeded or NoReboot (default: what the document says)")
		}, run: (*app).patchInstall},
	}
}

// fixed runs a document by another verb than run: it and the parameters of with are given.
func (a *app) fixed(ctx context.Context, p *parsed, document string, with map[string][]string) error {
	if p.str("document") != "" || p.str("content") != "" || p.rest != nil {
		return bad("it runs %s: another document, or a command behind --, is for run", document)
	}
	params, err := command.ParseParameters(p.str("parameters"))
	if err != nil {
		return bad("-parameters: %s", fault.MessageOf(err))
	}
	if params == nil {
		params = map[string][]string{}
	}
	for k, v := range with {
		if params[k] != nil {
			return bad("-parameters: %s is given by the verb", fault.Clean(k))
		}
		params[k] = v
	}
	b, err := json.Marshal(params)
	if err != nil {
		return err
	}
	for name, v := range map[string]string{"document": document, "parameters": string(b)} {
		if name == "parameters" && len(params) == 0 {
			continue
		}
		if err := p.fs.Set(name, v); err != nil {
			return err
		}
	}
	return a.runCommand(ctx, p)
}

const patchDocument = "AWS-RunPatchBaseline"

func (a *app) patchScan(ctx context.Context, p *parsed) error {
	return a.fixed(ctx, p, patchDocument, map[string][]string{"Operation": {"Scan"}})
}

func (a *app) patchInstall(ctx context.Context, p *parsed) error {
	with := map[string][]string{"Operation": {"Install"}}
	if r := p.str("reboot"); r != "" {
		with["RebootOption"] = []string{r}
	}
	return a.fixed(ctx, p, patchDocument, with)
}

func (a *app) patchNodes(ctx context.Context, p *parsed) error {
	if p.rest != nil {
		return bad("nothing is expected behind --")
	}
	group, ids := p.str("group"), p.args
	if group != "" && len(ids) > 0 {
		return bad("NODE and -group: give one of them")
	}
	var all []patchstore.InstancePatchState
	var err error
	if group != "" {
		all, err = pages(0, func(token string) ([]patchstore.InstancePatchState, string, error) {
			var out patchstore.StatesResult
			err := a.call(ctx, "DescribeInstancePatchStatesForPatchGroup", patchstore.StatesForGroupRequest{PatchGroup: group, NextToken: token}, &out)
			return out.InstancePatchStates, out.NextToken, err
		})
	} else {
		if len(ids) == 0 {
			if ids, err = a.nodeIDs(ctx); err != nil {
				return err
			}
		}
		all, err = a.patchStates(ctx, ids)
	}
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(patchstore.StatesResult{InstancePatchStates: all})
	}
	t := a.table("NODE", "GROUP", "OPERATION", "ENDED", "INSTALLED", "OTHER", "REBOOT", "REJECTED", "MISSING", "FAILED", "NON-COMPLIANT", "BASELINE")
	for _, s := range all {
		var worst []string
		for _, c := range []struct {
			n    int
			what string
		}{{s.CriticalNonCompliantCount, "critical"}, {s.SecurityNonCompliantCount, "security"}, {s.OtherNonCompliantCount, "other"}} {
			if c.n > 0 {
				worst = append(worst, fmt.Sprintf("%d %s", c.n, c.what))
			}
		}
		t.row(s.InstanceID, s.PatchGroup, s.Operation, s.OperationEndTime, s.InstalledCount, s.InstalledOtherCount, s.InstalledPendingRebootCount, s.InstalledRejectedCount,
			s.MissingCount, s.FailedCount, strings.Join(worst, ", "), s.BaselineID)
	}
	if err := t.end(); err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stderr, "fleetctl: none of them was scanned yet: fleetctl patches scan does it")
	}
	return nil
}

// nodeIDs returns the ids of all nodes.
func (a *app) nodeIDs(ctx context.Context) ([]string, error) {
	return pages(0, func(token string) ([]string, string, error) {
		var out ssmops.DescribeInstanceInformationResult
		err := a.call(ctx, "DescribeInstanceInformation", ssmops.DescribeInstanceInformationRequest{NextToken: token}, &out)
		var ids []string
		for _, n := range out.InstanceInformationList {
			ids = append(ids, n.ID)
		}
		return ids, out.NextToken, err
	})
}

// patchStates asks for the states of nodes, 50 at a time as AWS has it.
func (a *app) patchStates(ctx context.Context, ids []string) ([]patchstore.InstancePatchState, error) {
	all := []patchstore.InstancePatchState{}
	for len(ids) > 0 {
		some := ids[:min(50, len(ids))]
		ids = ids[len(some):]
		list, err := pages(0, func(token string) ([]patchstore.InstancePatchState, string, error) {
			var out patchstore.StatesResult
			err := a.call(ctx, "DescribeInstancePatchStates", patchstore.StatesRequest{InstanceIDs: some, NextToken: token}, &out)
			return out.InstancePatchStates, out.NextToken, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func patchListFlags(fs *flag.FlagSet) {
	fs.String("state", "", "only patches of this `state`: Missing, Installed, Failed, InstalledPendingReboot …; several by commas")
	fs.String("severity", "", "only patches of this `severity`: Critical, Important …")
	fs.String("classification", "", "only patches of this `class`: Security, Bugfix …")
}

func (a *app) listPatches(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE")
	if err != nil {
		return err
	}
	r := patchstore.PatchesRequest{InstanceID: args[0]}
	for _, f := range [][2]string{{"state", "State"}, {"severity", "Severity"}, {"classification", "Classification"}} {
		if v := p.str(f[0]); v != "" {
			r.Filters = append(r.Filters, patchstore.Filter{Key: f[1], Values: strings.Split(v, ",")})
		}
	}
	all, err := pages(0, func(token string) ([]patchstore.PatchComplianceData, string, error) {
		var out patchstore.PatchesResult
		r.NextToken = token
		err := a.call(ctx, "DescribeInstancePatches", r, &out)
		return out.Patches, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(patchstore.PatchesResult{Patches: all})
	}
	t := a.table("PATCH", "STATE", "SEVERITY", "CLASSIFICATION", "INSTALLED", "CVES", "TITLE")
	for _, d := range all {
		t.row(d.KBID, d.State, d.Severity, d.Classification, d.InstalledTime, short(d.CVEIDs, 40), short(d.Title, 60))
	}
	return t.end()
}

func (a *app) patchGroup(ctx context.Context, p *parsed) error {
	args, err := p.arg("GROUP")
	if err != nil {
		return err
	}
	var s patchstore.GroupState
	if err := a.call(ctx, "DescribePatchGroupState", patchstore.GroupStateRequest{PatchGroup: args[0]}, &s); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(s)
	}
	return a.facts([2]any{"nodes", s.Instances}, [2]any{"with installed patches", s.InstancesWithInstalledPatches}, [2]any{"with other patches installed", s.InstancesWithInstalledOtherPatches},
		[2]any{"waiting for a reboot", s.InstancesWithInstalledPendingReboot}, [2]any{"with rejected patches installed", s.InstancesWithInstalledRejectedPatches},
		[2]any{"with missing patches", s.InstancesWithMissingPatches}, [2]any{"with failed patches", s.InstancesWithFailedPatches},
		[2]any{"lacking critical ones", s.InstancesWithCriticalNonCompliantPatches}, [2]any{"lacking security ones", s.InstancesWithSecurityNonCompliantPatches},
		[2]any{"lacking others", s.InstancesWithOtherNonCompliantPatches}, [2]any{"with security updates on offer", s.InstancesWithAvailableSecurityUpdates})
}

func (a *app) patchGroups(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]patchstore.Mapping, string, error) {
		var out patchstore.DescribePatchGroupsResult
		err := a.call(ctx, "DescribePatchGroups", patchstore.ListRequest{NextToken: token}, &out)
		return out.Mappings, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(patchstore.DescribePatchGroupsResult{Mappings: all})
	}
	t := a.table("GROUP", "SYSTEM", "BASELINE", "NAME", "DEFAULT")
	for _, m := range all {
		b := m.BaselineIdentity
		t.row(m.PatchGroup, b.OperatingSystem, b.BaselineID, b.BaselineName, yes(b.DefaultBaseline))
	}
	return t.end()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func (a *app) patchBaselines(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	var filters []patchstore.Filter
	if p.on("own") {
		filters = append(filters, patchstore.Filter{Key: "OWNER", Values: []string{"Self"}})
	}
	if s := p.str("os"); s != "" {
		filters = append(filters, patchstore.Filter{Key: "OPERATING_SYSTEM", Values: []string{s}})
	}
	all, err := pages(0, func(token string) ([]patchstore.BaselineIdentity, string, error) {
		var out patchstore.DescribePatchBaselinesResult
		err := a.call(ctx, "DescribePatchBaselines", patchstore.ListRequest{Filters: filters, NextToken: token}, &out)
		return out.BaselineIdentities, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(patchstore.DescribePatchBaselinesResult{BaselineIdentities: all})
	}
	t := a.table("BASELINE", "NAME", "SYSTEM", "DEFAULT", "DESCRIPTION")
	for _, b := range all {
		t.row(b.BaselineID, b.BaselineName, b.OperatingSystem, yes(b.DefaultBaseline), short(b.BaselineDescription, 60))
	}
	return t.end()
}

// patchBaseline prints JSON in either format: there is no other form that update could take back.
func (a *app) patchBaseline(ctx context.Context, p *parsed) error {
	args, err := p.arg("ID")
	if err != nil {
		return err
	}
	var out json.RawMessage
	if err := a.call(ctx, "GetPatchBaseline", patchstore.BaselineRequest{BaselineID: args[0]}, &out); err != nil {
		return err
	}
	return a.json(out)
}

// object reads a file that must be a JSON object.
func (a *app) object(file string) (map[string]json.RawMessage, error) {
	text, err := a.text(file)
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &out); err != nil || out == nil {
		why := "it is null"
		if err != nil {
			why = err.Error()
		}
		return nil, bad("%s: a JSON object is expected, as CreatePatchBaseline of AWS has it: %s", file, fault.Clean(why))
	}
	return out, nil
}

func (a *app) createBaseline(ctx context.Context, p *parsed) error {
	args, err := p.arg("FILE")
	if err != nil {
		return err
	}
	r, err := a.object(args[0])
	if err != nil {
		return err
	}
	tags, err := pairs("-tags", p.str("tags"))
	if err != nil {
		return err
	}
	if len(tags) > 0 {
		if r["Tags"] != nil {
			return bad("-tags: %s has Tags already", args[0])
		}
		if r["Tags"], err = json.Marshal(tagList(tags)); err != nil {
			return err
		}
	}
	var out patchstore.CreatePatchBaselineResult
	if err := a.call(ctx, "CreatePatchBaseline", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	return a.say("%s", fault.Clean(out.BaselineID))
}

func (a *app) updateBaseline(ctx context.Context, p *parsed) error {
	args, err := p.arg("ID", "FILE")
	if err != nil {
		return err
	}
	r, err := a.object(args[1])
	if err != nil {
		return err
	}
	if err := a.sameBaseline(ctx, args[0], args[1], r); err != nil {
		return err
	}
	if r["BaselineId"], err = json.Marshal(args[0]); err != nil {
		return err
	}
	if p.on("replace") {
		r["Replace"] = json.RawMessage("true")
	}
	var out json.RawMessage
	if err := a.call(ctx, "UpdatePatchBaseline", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	return nil
}

// sameBaseline takes out of a file what the verb baseline prints and an update cannot have. It must be what the baseline has.
func (a *app) sameBaseline(ctx context.Context, id, file string, r map[string]json.RawMessage) error {
	for _, name := range []string{"CreatedDate", "ModifiedDate", "PatchGroups"} {
		delete(r, name)
	}
	text := func(name string) (s string) {
		if json.Unmarshal(r[name], &s) != nil {
			s = string(r[name]) // it is not the same then
		}
		return s
	}
	if r["BaselineId"] != nil && text("BaselineId") != id {
		return bad("%s is of baseline %s, not of %s", file, fault.Clean(text("BaselineId")), fault.Clean(id))
	}
	if r["OperatingSystem"] == nil {
		return nil
	}
	var now struct{ OperatingSystem string }
	if err := a.call(ctx, "GetPatchBaseline", patchstore.BaselineRequest{BaselineID: id}, &now); err != nil {
		return err
	}
	if text("OperatingSystem") != now.OperatingSystem {
		return bad("%s: the baseline is for %s, which cannot be changed", file, fault.Clean(now.OperatingSystem))
	}
	delete(r, "OperatingSystem")
	return nil
}

// baselineCall is an operation on a baseline, and with a group on its place there.
func (a *app) baselineCall(ctx context.Context, p *parsed, op string, group bool) error {
	names := []string{"ID", "GROUP"}
	if !group {
		names = names[:1]
	}
	args, err := p.arg(names...)
	if err != nil {
		return err
	}
	if group {
		return a.call(ctx, op, patchstore.GroupRequest{BaselineID: args[0], PatchGroup: args[1]}, nil)
	}
	return a.call(ctx, op, patchstore.BaselineRequest{BaselineID: args[0]}, nil)
}

func (a *app) deleteBaseline(ctx context.Context, p *parsed) error {
	return a.baselineCall(ctx, p, "DeletePatchBaseline", false)
}

func (a *app) defaultBaseline(ctx context.Context, p *parsed) error {
	return a.baselineCall(ctx, p, "RegisterDefaultPatchBaseline", false)
}

func (a *app) registerBaseline(ctx context.Context, p *parsed) error {
	return a.baselineCall(ctx, p, "RegisterPatchBaselineForPatchGroup", true)
}

func (a *app) deregisterBaseline(ctx context.Context, p *parsed) error {
	return a.baselineCall(ctx, p, "DeregisterPatchBaselineForPatchGroup", true)
}
