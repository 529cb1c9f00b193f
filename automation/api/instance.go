package api

import (
	"context"
	"slices"
	"strings"
)

// changeInstanceState is aws:changeInstanceState: it starts, stops or terminates instances, or with CheckStateOnly nothing of that, and waits until all of them are in the
// state. Running instances must have passed both status checks, too. A state from which the desired one cannot come fails the step at once.
// FailOnUnexpectedStopped fails it when an instance that was starting is stopped again; otherwise it is awaited until the deadline, as it may be started by others.
func (a *actions) changeInstanceState(ctx context.Context, c *call) (any, error) {
	ids := c.set("InstanceIds")
	want := strings.ToLower(strings.TrimSpace(c.text("DesiredState")))
	only, _, err := c.flag("CheckStateOnly")
	if err != nil {
		return nil, err
	}
	force, forced, err := c.flag("Force")
	if err != nil {
		return nil, err
	}
	strict, _, err := c.flag("FailOnUnexpectedStopped")
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, invalid("InstanceIds must name at least one instance")
	}
	in := map[string]any{"InstanceIds": ids}
	var api string
	switch want {
	case "running":
		api = "StartInstances"
		if info := c.text("AdditionalInfo"); info != "" {
			in["AdditionalInfo"] = info
		}
	case "stopped":
		api = "StopInstances"
		if forced {
			in["Force"] = force
		}
	case "terminated":
		api = "TerminateInstances"
	default:
		return nil, invalid("DesiredState must be running, stopped or terminated")
	}
	if !only {
		if _, err := a.call(ctx, "ec2", api, in); err != nil && !(codeIs(err, "IncorrectInstanceState") && a.under(ctx, ids, want)) {
			return nil, err
		}
	}
	began := map[string]bool{}
	states, err := a.instances(ctx, ids, want == "terminated", func(n int, id, state string) bool {
		switch want {
		case "running":
			began[id] = began[id] || state == "pending" || state == "running"
			return state != "shutting-down" && state != "terminated" && (!strict || state != "stopped" && state != "stopping" || !began[id] && n <= settle)
		case "stopped":
			return state != "shutting-down" && state != "terminated"
		}
		return true
	}, func(state string) bool { return state == want }, false)
	if err == nil && want == "running" {
		err = a.healthy(ctx, ids)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"InstanceStates": states}, nil
}

// under reports whether all instances are in the state or already on their way to it: then it is no matter that EC2 refused to be asked once more.
func (a *actions) under(ctx context.Context, ids []any, want string) bool {
	way := map[string][]string{"running": {"pending", "running"}, "stopped": {"stopping", "stopped"}, "terminated": {"shutting-down", "terminated"}}[want]
	out, err := a.ask(ctx, "ec2", "DescribeInstances", map[string]any{"InstanceIds": ids})
	if err != nil {
		return false
	}
	n := 0
	for _, r := range items(out["Reservations"]) {
		for _, i := range items(dig(r, "Instances")) {
			if slices.Contains(ids, any(str(i, "InstanceId"))) && slices.Contains(way, str(i, "State", "Name")) {
				n++
			}
		}
	}
	return n == len(ids)
}

// instances waits until all instances are in a state that is good, and returns the states in the order of the ids. may says which states may still become good. With gone an
// instance that is no longer known counts as terminated; with fresh it may not be known yet.
func (a *actions) instances(ctx context.Context, ids []any, gone bool, may func(n int, id, state string) bool, good func(state string) bool, fresh bool) ([]any, error) {
	var states []any
	err := a.watch(ctx, func(n int) (bool, error) {
		out, err := a.ask(ctx, "ec2", "DescribeInstances", map[string]any{"InstanceIds": ids})
		unknown := has(err, "InvalidInstanceID.NotFound", "InvalidInstanceId", "InvalidInstanceID")
		switch {
		case unknown && fresh && n <= settle:
			return false, nil
		case unknown && gone && len(ids) == 1:
			out = nil
		case err != nil:
			return false, a.failed(ctx, err)
		}
		found := map[string]map[string]any{}
		for _, r := range items(out["Reservations"]) {
			for _, i := range items(dig(r, "Instances")) {
				if m, ok := i.(map[string]any); ok {
					found[str(m, "InstanceId")] = m
				}
			}
		}
		states = states[:0]
		all := true
		for _, id := range ids {
			id := id.(string)
			m := found[id]
			state := str(m, "State", "Name")
			switch {
			case m == nil && gone:
				state = "terminated"
			case m == nil && fresh && n <= settle:
				all = false
				continue
			case m == nil:
				return false, unexpected("the instance "+id+" does not exist", map[string][]string{"InstanceId": {id}})
			}
			if !good(state) && !may(n, id, state) {
				reason := str(m, "StateReason", "Message")
				if reason == "" {
					reason = str(m, "StateTransitionReason")
				}
				text := "the instance " + id + " entered the unexpected state " + state
				if reason != "" {
					text += ": " + reason
				}
				return false, unexpected(text, map[string][]string{"InstanceId": {id}, "InstanceState": {state}})
			}
			all = all && good(state)
			states = append(states, state)
		}
		return all, nil
	})
	return states, err
}

// healthy waits until all instances have passed their own status check and that of the system beneath.
func (a *actions) healthy(ctx context.Context, ids []any) error {
	return a.watch(ctx, func(int) (bool, error) {
		out, err := a.ask(ctx, "ec2", "DescribeInstanceStatus", map[string]any{"InstanceIds": ids})
		if err != nil {
			return false, a.failed(ctx, err)
		}
		fine := 0
		for _, s := range items(out["InstanceStatuses"]) {
			if slices.Contains(ids, any(str(s, "InstanceId"))) && str(s, "InstanceStatus", "Status") == "ok" && str(s, "SystemStatus", "Status") == "ok" {
				fine++
			}
		}
		return fine == len(ids), nil
	})
}

// runInstances is aws:runInstances: it launches instances and waits until they run. Inputs have the names of RunInstances but for those that the action has itself.
func (a *actions) runInstances(ctx context.Context, c *call) (any, error) {
	if c.text("ImageId") == "" {
		return nil, invalid("ImageId must name an image")
	}
	least, err := c.number("MinInstanceCount", 0)
	if err != nil {
		return nil, err
	}
	most, err := c.number("MaxInstanceCount", 0)
	if err != nil {
		return nil, err
	}
	if most <= 0 {
		most = max(least, 1)
	}
	if least <= 0 {
		least = 1
	}
	in := map[string]any{"MinCount": least, "MaxCount": most, "ClientToken": c.Token}
	profile := map[string]any{}
	for name, v := range c.in {
		if v == nil || v == "" {
			continue // an input that a parameter left empty
		}
		switch name {
		case "MinInstanceCount", "MaxInstanceCount":
		case "MinCount", "MaxCount", "UserData":
			in[name] = v
		case "ClientToken":
			in["ClientToken"] = v
		case "IamInstanceProfileName":
			profile["Name"] = v
		case "IamInstanceProfileArn":
			profile["Arn"] = v
		case "RamDiskId":
			in["RamdiskId"] = v
		case "Monitoring":
			if _, is := parsed(v).(map[string]any); is {
				in["Monitoring"] = parsed(v)
				continue
			}
			on, _, err := c.flag(name)
			if err != nil {
				return nil, err
			}
			in["Monitoring"] = map[string]any{"Enabled": on}
		case "SecurityGroupIds", "SecurityGroups":
			in[name] = c.list(name)
		default:
			in[name] = parsed(v)
		}
	}
	if len(profile) > 0 {
		in["IamInstanceProfile"] = profile
	}
	out, err := a.call(ctx, "ec2", "RunInstances", in)
	if err != nil {
		return nil, err
	}
	ids := []any{}
	for _, i := range items(out["Instances"]) {
		ids = append(ids, str(i, "InstanceId"))
	}
	if len(ids) == 0 {
		return nil, unexpected("RunInstances named no instance", nil)
	}
	states, err := a.instances(ctx, ids, false, func(_ int, _, state string) bool { return state == "pending" }, func(state string) bool { return state == "running" }, true)
	if err != nil {
		return nil, about(err, "InstanceIds", ids...)
	}
	return map[string]any{"InstanceIds": ids, "InstanceStates": states}, nil
}
