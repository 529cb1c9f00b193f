package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/automation/api"
)

// thing is something in the cloud whose state changes by itself.
type thing struct {
	state string
	then  []change // in order
	more  map[string]any
}

type change struct {
	at    time.Time
	state string
}

// now is the state at this time.
func (x *thing) now() string {
	for len(x.then) > 0 && !time.Now().Before(x.then[0].at) {
		x.state, x.then = x.then[0].state, x.then[1:]
	}
	return x.state
}

// becomes plans what follows: a state at once, and others after times.
func (x *thing) becomes(state string, later ...any) {
	x.state, x.then = state, nil
	at := time.Now()
	for i := 0; i < len(later); i += 2 {
		at = at.Add(later[i].(time.Duration))
		x.then = append(x.then, change{at, later[i+1].(string)})
	}
}

// cloud is a small AWS: instances, images, snapshots, stacks, functions, databases. It is strict about states as AWS is.
type cloud struct {
	mu                                                 sync.Mutex
	instances, healthy, images, snapshots, stacks, dbs map[string]*thing
	functions                                          map[string]func(payload string) string
	other                                              map[string]func(in map[string]any) (map[string]any, error) // by "service:Api"
	stackEnds                                          map[string]string                                          // by prefix of the name: what creating it comes to
	tokens                                             map[string]string
	stuck                                              map[string]bool // instances that only stop by force
	calls                                              []string
	roles                                              map[string]bool
	made                                               int
}

func newCloud() *cloud {
	return &cloud{instances: map[string]*thing{}, healthy: map[string]*thing{}, images: map[string]*thing{}, snapshots: map[string]*thing{}, stacks: map[string]*thing{}, dbs: map[string]*thing{},
		functions: map[string]func(string) string{}, other: map[string]func(map[string]any) (map[string]any, error){}, stackEnds: map[string]string{}, tokens: map[string]string{}, stuck: map[string]bool{}, roles: map[string]bool{}}
}

func (c *cloud) instance(id, state string) *cloud {
	c.instances[id] = &thing{state: state, more: map[string]any{"InstanceType": "t3.micro"}}
	c.healthy[id] = &thing{state: "ok"}
	return c
}

func (c *cloud) id(prefix string) string {
	c.made++
	return fmt.Sprintf("%s-%017x", prefix, c.made)
}

func list(v any) (out []string) {
	l, _ := v.([]any)
	for _, x := range l {
		out = append(out, x.(string))
	}
	return out
}

func str(m map[string]any, name string) string { s, _ := m[name].(string); return s }

func (c *cloud) Call(ctx context.Context, service, op string, in map[string]any) (map[string]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := service + ":" + op
	c.calls = append(c.calls, name)
	if call, ok := api.CallOf(ctx); ok {
		c.roles[call.Role] = true
	}
	if f := c.other[name]; f != nil {
		return f(in)
	}
	switch service {
	case "ec2":
		return c.ec2(op, in)
	case "cloudformation":
		return c.cloudformation(op, in)
	case "rds":
		return c.rds(op, in)
	case "lambda":
		f := c.functions[str(in, "FunctionName")]
		if f == nil {
			return nil, no("ResourceNotFoundException", "Function not found: "+str(in, "FunctionName"))
		}
		return map[string]any{"StatusCode": 200, "Payload": f(str(in, "Payload"))}, nil
	}
	return nil, no("UnknownOperationException", name)
}

func (c *cloud) ec2(op string, in map[string]any) (map[string]any, error) {
	ids := list(in["InstanceIds"])
	for _, id := range ids {
		if c.instances[id] == nil {
			return nil, no("InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
		}
	}
	switch op {
	case "StartInstances":
		for _, id := range ids {
			if s := c.instances[id].now(); s != "stopped" && s != "running" {
				return nil, no("IncorrectInstanceState", "The instance '"+id+"' is "+s)
			}
		}
		for _, id := range ids {
			if c.instances[id].now() == "stopped" {
				c.instances[id].becomes("pending", 20*time.Second, "running")
				c.healthy[id].becomes("initializing", 90*time.Second, "ok")
			}
		}
	case "StopInstances", "TerminateInstances":
		for _, id := range ids {
			s := c.instances[id].now()
			switch {
			case op == "TerminateInstances":
				c.instances[id].becomes("shutting-down", 40*time.Second, "terminated")
			case s != "running" && s != "stopped" && s != "stopping":
				return nil, no("IncorrectInstanceState", "The instance '"+id+"' is "+s)
			case s == "stopped":
			case c.stuck[id] && in["Force"] != true:
				c.instances[id].becomes("stopping")
			default:
				c.instances[id].becomes("stopping", 35*time.Second, "stopped")
			}
		}
	case "ModifyInstanceAttribute":
		x := c.instances[str(in, "InstanceId")]
		if x.now() != "stopped" {
			return nil, no("IncorrectInstanceState", "it must be stopped")
		}
		x.more["InstanceType"] = in["InstanceType"].(map[string]any)["Value"]
	case "DescribeInstances":
		var all []any
		for _, id := range ids {
			m := map[string]any{"InstanceId": id, "State": map[string]any{"Name": c.instances[id].now()}}
			for k, v := range c.instances[id].more {
				m[k] = v
			}
			all = append(all, m)
		}
		return map[string]any{"Reservations": []any{map[string]any{"Instances": all}}}, nil
	case "DescribeInstanceStatus":
		var all []any
		for _, id := range ids {
			if c.instances[id].now() == "running" {
				s := map[string]any{"Status": c.healthy[id].now()}
				all = append(all, map[string]any{"InstanceId": id, "InstanceStatus": s, "SystemStatus": s})
			}
		}
		return map[string]any{"InstanceStatuses": all}, nil
	case "CreateImage":
		if c.instances[str(in, "InstanceId")] == nil {
			return nil, no("InvalidInstanceID.NotFound", "no such instance")
		}
		id, snap := c.id("ami"), c.id("snap")
		c.images[id] = &thing{more: map[string]any{"Name": in["Name"], "BlockDeviceMappings": []any{map[string]any{"Ebs": map[string]any{"SnapshotId": snap}}}}}
		c.images[id].becomes("pending", 4*time.Minute, "available")
		c.snapshots[snap] = &thing{state: "completed"}
		return map[string]any{"ImageId": id}, nil
	case "DescribeImages":
		var all []any
		for _, id := range list(in["ImageIds"]) {
			x := c.images[id]
			if x == nil {
				return nil, no("InvalidAMIID.NotFound", "The image id '["+id+"]' does not exist")
			}
			m := map[string]any{"ImageId": id, "State": x.now()}
			for k, v := range x.more {
				m[k] = v
			}
			all = append(all, m)
		}
		return map[string]any{"Images": all}, nil
	case "DeregisterImage":
		delete(c.images, str(in, "ImageId"))
	case "CreateSnapshot":
		id := c.id("snap")
		c.snapshots[id] = &thing{}
		c.snapshots[id].becomes("pending", 95*time.Second, "completed")
		return map[string]any{"SnapshotId": id}, nil
	case "DescribeSnapshots":
		id := list(in["SnapshotIds"])[0]
		return map[string]any{"Snapshots": []any{map[string]any{"SnapshotId": id, "State": c.snapshots[id].now()}}}, nil
	case "DeleteSnapshot":
		if c.snapshots[str(in, "SnapshotId")] == nil {
			return nil, no("InvalidSnapshot.NotFound", "no such snapshot")
		}
		delete(c.snapshots, str(in, "SnapshotId"))
	default:
		return nil, no("InvalidAction", op)
	}
	return map[string]any{}, nil
}

func (c *cloud) cloudformation(op string, in map[string]any) (map[string]any, error) {
	name := strings.TrimPrefix(str(in, "StackName"), "arn:")
	x := c.stacks[name]
	switch op {
	case "CreateStack":
		if x != nil && c.tokens[name] == str(in, "ClientRequestToken") {
			return map[string]any{"StackId": "arn:" + name}, nil
		}
		if x != nil && x.now() != "DELETE_COMPLETE" {
			return nil, no("AlreadyExistsException", "Stack ["+name+"] already exists")
		}
		x = &thing{}
		c.stacks[name], c.tokens[name] = x, str(in, "ClientRequestToken")
		x.becomes("CREATE_IN_PROGRESS", time.Minute, "CREATE_COMPLETE")
		for prefix, end := range c.stackEnds {
			if strings.HasPrefix(name, prefix) {
				x.becomes("CREATE_IN_PROGRESS", time.Minute, strings.ReplaceAll(end, "_COMPLETE", "_IN_PROGRESS"), time.Minute, end)
			}
		}
		params, _ := in["Parameters"].([]any)
		for _, p := range params { // the functions of the documents' own stacks
			m := p.(map[string]any)
			if strings.HasSuffix(m["ParameterKey"].(string), "LambdaName") && c.functions["*"] != nil {
				c.functions[m["ParameterValue"].(string)] = c.functions["*"]
			}
		}
		return map[string]any{"StackId": "arn:" + name}, nil
	case "DescribeStacks":
		if x == nil || x.now() == "DELETE_COMPLETE" && name == str(in, "StackName") {
			return nil, no("ValidationError", "Stack with id "+name+" does not exist")
		}
		m := map[string]any{"StackId": "arn:" + name, "StackStatus": x.now()}
		if s := x.now(); strings.HasPrefix(s, "ROLLBACK_IN") || strings.HasPrefix(s, "DELETE_IN") {
			m["StackStatusReason"] = "a resource failed to create"
		}
		return map[string]any{"Stacks": []any{m}}, nil
	case "DeleteStack":
		if x != nil {
			x.becomes("DELETE_IN_PROGRESS", 50*time.Second, "DELETE_COMPLETE")
		}
		return map[string]any{}, nil
	}
	return nil, no("InvalidAction", op)
}

func (c *cloud) rds(op string, in map[string]any) (map[string]any, error) {
	id := str(in, "DBInstanceIdentifier")
	if f, ok := in["Filters"].([]any); ok { // by the resource's id, which is here the name with a prefix
		id = strings.ToLower(f[0].(map[string]any)["Values"].([]any)[0].(string))
	}
	x := c.dbs[id]
	if x == nil {
		return nil, no("DBInstanceNotFound", "DBInstance "+id+" not found.")
	}
	moves := map[string][3]string{"StopDBInstance": {"available", "stopping", "stopped"}, "StartDBInstance": {"stopped", "starting", "available"}, "RebootDBInstance": {"available", "rebooting", "available"}}
	if op == "DescribeDBInstances" {
		return map[string]any{"DBInstances": []any{map[string]any{"DBInstanceIdentifier": id, "DBInstanceStatus": x.now()}}}, nil
	}
	if op == "DeleteDBInstance" {
		x.becomes("deleting", 5*time.Minute, "deleted")
		return map[string]any{"DBInstance": map[string]any{"DBInstanceStatus": "deleting"}}, nil
	}
	m, ok := moves[op]
	switch {
	case !ok:
		return nil, no("InvalidAction", op)
	case x.now() != m[0]:
		return nil, no("InvalidDBInstanceState", "Instance "+id+" is not in "+m[0]+" state")
	}
	x.becomes(m[1], 3*time.Minute, m[2])
	return map[string]any{"DBInstance": map[string]any{"DBInstanceStatus": m[1]}}, nil
}

// notebook is a service of one thing, as SageMaker has notebooks.
func (c *cloud) notebook() *thing {
	x := &thing{state: "InService", more: map[string]any{"RootAccess": "Enabled"}}
	move := func(from, first, then string) func(map[string]any) (map[string]any, error) {
		return func(in map[string]any) (map[string]any, error) {
			if x.now() != from {
				return nil, no("ValidationException", "Status ("+x.now()+") not in ("+from+")")
			}
			if root, ok := in["RootAccess"]; ok {
				x.more["RootAccess"] = root
			}
			x.becomes(first, 4*time.Minute, then)
			return map[string]any{}, nil
		}
	}
	c.other["sagemaker:StopNotebookInstance"] = move("InService", "Stopping", "Stopped")
	c.other["sagemaker:UpdateNotebookInstance"] = move("Stopped", "Updating", "Stopped")
	c.other["sagemaker:StartNotebookInstance"] = move("Stopped", "Pending", "InService")
	c.other["sagemaker:DescribeNotebookInstance"] = func(map[string]any) (map[string]any, error) {
		return map[string]any{"NotebookInstanceStatus": x.now(), "RootAccess": x.more["RootAccess"]}, nil
	}
	return x
}

// gateway is a VPN gateway that is attached to a VPC.
func (c *cloud) gateway(id string) *thing {
	x, vpc := &thing{state: "available"}, &thing{}
	vpc.becomes("attaching", 2*time.Minute, "attached")
	c.other["ec2:DescribeVpnGateways"] = func(map[string]any) (map[string]any, error) {
		return map[string]any{"VpnGateways": []any{map[string]any{"VpnGatewayId": id, "State": x.now(), "VpcAttachments": []any{map[string]any{"VpcId": "vpc-1", "State": vpc.now()}}}}}, nil
	}
	c.other["ec2:DetachVpnGateway"] = func(in map[string]any) (map[string]any, error) {
		if vpc.now() != "attached" || in["VpcId"] != "vpc-1" {
			return nil, no("InvalidVpnGatewayAttachment.NotFound", "")
		}
		vpc.becomes("detaching", 3*time.Minute, "detached")
		return map[string]any{}, nil
	}
	c.other["ec2:DeleteVpnGateway"] = func(map[string]any) (map[string]any, error) {
		if vpc.now() != "detached" {
			return nil, no("IncorrectState", "")
		}
		x.becomes("deleting", time.Minute, "deleted")
		return map[string]any{}, nil
	}
	return x
}

// times is how often an operation was called.
func (c *cloud) times(name string) (n int) {
	for _, x := range c.calls {
		if x == name {
			n++
		}
	}
	return n
}

// order is the calls that changed something.
func (c *cloud) order() []string {
	return slices.DeleteFunc(slices.Clone(c.calls), func(s string) bool {
		_, op, _ := strings.Cut(s, ":")
		return strings.HasPrefix(op, "Describe") || strings.HasPrefix(op, "Get") || strings.HasPrefix(op, "List")
	})
}
