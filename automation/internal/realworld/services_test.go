package realworld

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
)

// s3 keeps objects by bucket and key.
func (a *aws) s3() {
	at := func(in m) string { return str(in, "Bucket") + "/" + str(in, "Key") }
	a.on("s3:PutObject", func(in m) (m, error) { a.put("object", at(in), "", m{"body": in["Body"]}); return m{}, nil })
	a.on("s3:GetObject", func(in m) (m, error) {
		x, err := a.get("object", at(in), "NoSuchKey")
		if err != nil {
			return nil, err
		}
		return m{"Body": m{"$body": x.more["body"]}}, nil
	})
	a.on("s3:ListObjectsV2", func(in m) (m, error) { // a page has one object
		var keys []string
		for k := range a.things["object"] {
			if key, ok := strings.CutPrefix(k, str(in, "Bucket")+"/"); ok && strings.HasPrefix(key, str(in, "Prefix")) && key > str(in, "ContinuationToken") {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		out := m{"Contents": l{}}
		if len(keys) > 0 {
			out["Contents"] = l{m{"Key": keys[0]}}
		}
		if len(keys) > 1 {
			out["NextContinuationToken"] = keys[0]
		}
		return out, nil
	})
	a.on("s3:HeadBucket", func(in m) (m, error) { _, err := a.get("bucket", str(in, "Bucket"), "NoSuchBucket"); return m{}, err })
	a.on("s3:GetBucketVersioning", func(in m) (m, error) {
		x, err := a.get("bucket", str(in, "Bucket"), "NoSuchBucket")
		if err != nil {
			return nil, err
		}
		out := m{}
		for from, to := range map[string]string{"Versioning": "Status", "MFADelete": "MFADelete"} {
			if v, ok := x.more[from]; ok {
				out[to] = v
			}
		}
		return out, nil
	})
	a.on("s3:PutBucketVersioning", func(in m) (m, error) {
		x, err := a.get("bucket", str(in, "Bucket"), "NoSuchBucket")
		if err == nil {
			x.more["Versioning"] = sub(in, "VersioningConfiguration")["Status"]
		}
		return m{}, err
	})
}

// ssm tells of the executions of the very service that runs them, as AWS does.
func (a *aws) ssm() {
	find := func(in m) (*thing, error) {
		return a.get("execution", str(in, "AutomationExecutionId"), "AutomationExecutionNotFoundException")
	}
	a.on("ssm:GetAutomationExecution", func(in m) (m, error) {
		x, err := find(in)
		if err != nil {
			return nil, err
		}
		return m{"AutomationExecution": x.more}, nil
	})
	a.on("ssm:DescribeAutomationStepExecutions", func(in m) (m, error) {
		if ids := texts(in["AutomationExecutionId"]); len(ids) > 0 { // the children of a step with targets: for AWS they are steps of one execution
			var all l
			for _, id := range ids {
				all = append(all, m{"StepExecutionId": id, "StepStatus": a.things["execution"][id].more["AutomationExecutionStatus"]})
			}
			return m{"StepExecutions": all}, nil
		}
		x, err := find(in)
		if err != nil {
			return nil, err
		}
		return m{"StepExecutions": x.more["StepExecutions"]}, nil
	})
}

// watch makes the world know an execution, and those that it started, when something asks for it.
func (a *aws) watch(s *automation.Service) {
	a.look = func(id string) {
		seen := map[string]m{}
		for ids := []string{id}; len(ids) > 0; ids = ids[1:] {
			x, _, err := s.Get(ann, ids[0])
			if err != nil {
				continue // a child that is not there yet
			}
			var all l
			for _, rec := range x.Steps {
				inputs := m{}
				for k, v := range rec.Inputs {
					inputs[k] = text(v)
				}
				all = append(all, m{"StepExecutionId": rec.ID, "StepName": rec.Name, "StepStatus": rec.Status, "Inputs": inputs})
				if rec.Fan != nil {
					for _, g := range rec.Fan.Groups {
						for _, it := range g.Items {
							ids = append(ids, it.ID)
						}
					}
				}
			}
			outputs := m{}
			for k, v := range x.Outputs {
				outputs[k] = automation.Strings(v)
			}
			seen[x.ID] = m{"AutomationExecutionId": x.ID, "DocumentName": x.Document, "AutomationExecutionStatus": x.Status, "StepExecutions": all, "Outputs": outputs}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for id, x := range seen {
			a.put("execution", id, "", x)
		}
	}
}
