package api

import (
	"context"
	"fmt"
	"strings"
)

// What AWS's pages of the actions and CloudFormation's limits say of stacks, in bytes.
const (
	mostTemplate = 51_200
	mostPolicy   = 16_384
)

// stackInputs reads the inputs that aws:createStack and aws:updateStack share: they are those of the operation, with a token. What an empty parameter left out is not sent.
func (a *actions) stackInputs(c *call) (map[string]any, error) {
	in := map[string]any{}
	for name, v := range c.in {
		switch v := parsed(v).(type) {
		case nil:
		case string:
			if v != "" {
				in[name] = v
			}
		case []any:
			in[name] = v
		case map[string]any:
			if name == "TemplateBody" || strings.HasPrefix(name, "StackPolicy") {
				in[name] = jsonText(c.in[name])
				continue
			}
			in[name] = v
		default:
			in[name] = v
		}
	}
	in["ClientRequestToken"] = c.Token
	c.pass(in, "ClientRequestToken", "ClientRequestToken")
	if err := c.take(in, "StackName", "StackName"); err != nil {
		return nil, err
	}
	for _, name := range []string{"Capabilities", "NotificationARNs", "ResourceTypes"} {
		if l := c.list(name); len(l) > 0 {
			in[name] = l
		} else {
			delete(in, name)
		}
	}
	body := textOf(in["TemplateBody"])
	switch {
	case len(body) > mostTemplate:
		return nil, invalid(fmt.Sprintf("TemplateBody has %d bytes, at most %d are allowed: use TemplateURL", len(body), mostTemplate))
	case body != "" && c.text("TemplateURL") != "":
		return nil, invalid("give TemplateBody or TemplateURL, not both")
	case len(textOf(in["StackPolicyBody"])) > mostPolicy, len(textOf(in["StackPolicyDuringUpdateBody"])) > mostPolicy:
		return nil, invalid(fmt.Sprintf("a stack policy has at most %d bytes", mostPolicy))
	case len(items(in["Tags"])) > a.o.Tags:
		return nil, invalid(fmt.Sprintf("there are %d Tags, at most %d are allowed", len(items(in["Tags"])), a.o.Tags))
	}
	return in, nil
}

// createStack is aws:createStack: it waits until the stack is there, or what CloudFormation does after a failure (OnFailure) has ended.
func (a *actions) createStack(ctx context.Context, c *call) (any, error) {
	in, err := a.stackInputs(c)
	if err != nil {
		return nil, err
	}
	if textOf(in["OnFailure"]) != "" && in["DisableRollback"] != nil {
		return nil, invalid("give OnFailure or DisableRollback, not both")
	}
	out, err := a.call(ctx, "cloudformation", "CreateStack", in)
	if err != nil {
		return nil, err
	}
	return a.stack(ctx, str(out, "StackId"), textOf(in["StackName"]), "CREATE_COMPLETE")
}

// updateStack is aws:updateStack: it waits until the stack is updated and cleaned up, or rolled back. That there is nothing to update is an error, as CloudFormation says it.
func (a *actions) updateStack(ctx context.Context, c *call) (any, error) {
	in, err := a.stackInputs(c)
	if err != nil {
		return nil, err
	}
	out, err := a.call(ctx, "cloudformation", "UpdateStack", in)
	if err != nil {
		return nil, err
	}
	return a.stack(ctx, str(out, "StackId"), textOf(in["StackName"]), "UPDATE_COMPLETE")
}

// deleteStack is aws:deleteStack: it waits until the stack is gone. One that does not exist is deleted already.
func (a *actions) deleteStack(ctx context.Context, c *call) (any, error) {
	in := map[string]any{"ClientRequestToken": c.Token}
	if err := c.take(in, "StackName", "StackName"); err != nil {
		return nil, err
	}
	c.pass(in, "ClientRequestToken", "ClientRequestToken", "RoleARN", "RoleARN")
	if l := c.list("RetainResources"); len(l) > 0 {
		in["RetainResources"] = l
	}
	name := in["StackName"].(string)
	id, status, reason, err := a.describe(ctx, name)
	if noStack(err) || err == nil && status == "DELETE_COMPLETE" {
		if id == "" {
			id = name
		}
		return stackOutputs(id, "DELETE_COMPLETE", reason), nil
	}
	if err != nil {
		return nil, refused(ctx, "DescribeStacks", err)
	}
	if _, err := a.call(ctx, "cloudformation", "DeleteStack", in); err != nil {
		return nil, err
	}
	return a.stack(ctx, id, name, "DELETE_COMPLETE")
}

func noStack(err error) bool {
	return has(err, "ValidationError", "StackNotFoundException", "ValidationException") && strings.Contains(messageOf(err), "does not exist")
}

// describe says how a stack is.
func (a *actions) describe(ctx context.Context, name string) (id, status, reason string, err error) {
	out, err := a.ask(ctx, "cloudformation", "DescribeStacks", map[string]any{"StackName": name})
	if err != nil {
		return "", "", "", err
	}
	s := dig(out, "Stacks", 0)
	if id = str(s, "StackId"); id == "" {
		id = name
	}
	return id, str(s, "StackStatus"), str(s, "StackStatusReason"), nil
}

func stackOutputs(id, status, reason string) map[string]any {
	out := map[string]any{"StackId": id, "StackStatus": status}
	if reason != "" {
		out["StackStatusReason"] = reason
	}
	return out
}

// stack waits until a stack has come to rest, which is well in one state only. The reason of a failure is that of the first status that shows it: the last ones, of the rolling
// back, have none.
func (a *actions) stack(ctx context.Context, id, name, want string) (any, error) {
	if id == "" {
		id = name
	}
	var status, reason, first string
	err := a.watch(ctx, func(n int) (bool, error) {
		_, s, r, err := a.describe(ctx, id)
		switch {
		case noStack(err) && want == "DELETE_COMPLETE":
			status, reason = want, ""
			return true, nil
		case noStack(err) && n <= settle:
			return false, nil
		case err != nil:
			return false, a.failed(ctx, err)
		}
		status, reason = s, r
		if first == "" && r != "" && (strings.Contains(s, "ROLLBACK") || strings.HasSuffix(s, "_FAILED") || want != "DELETE_COMPLETE" && strings.HasPrefix(s, "DELETE_")) {
			first = r
		}
		switch {
		case s == want:
			return true, nil
		case strings.HasSuffix(s, "_IN_PROGRESS"), s == "":
			return false, nil
		case want == "DELETE_COMPLETE" && s != "DELETE_FAILED", n == 1 && strings.HasSuffix(s, "_COMPLETE"):
			return false, nil // how it was before: it has not begun
		}
		if first == "" {
			first = r
		}
		text := "the stack " + name + " entered the unexpected state " + s
		if first != "" {
			text += ": " + first
		}
		return false, unexpected(text, map[string][]string{"StackStatus": {s}})
	})
	if err != nil {
		return nil, about(err, "StackId", id)
	}
	return stackOutputs(id, status, reason), nil
}
