package automation

import (
	"strconv"
	"strings"
)

// get gives the value of a placeholder at this moment (A7). A name that the runbook does not know is text: scripts and templates have such. So is the output of a
// step that has not run, or did not give it: AWS's own runbooks hand both outputs of a branch on, and look which one begins with {{.
func (r *run) get(ref string) (any, bool, error) {
	x := r.x
	if v, ok := x.Parameters[ref]; ok {
		return v, true, nil
	}
	if prefix, rest, ok := strings.Cut(ref, ":"); ok {
		switch prefix {
		case "global", "automation":
			v, ok := r.system(ref)
			return v, ok, nil
		case "variable":
			base, path := splitPath(rest)
			v, ok := x.Variables[base]
			if !ok {
				return nil, false, nil
			}
			return dig(v, path)
		}
		return nil, false, nil
	}
	base, path := splitPath(ref)
	if v, ok := x.Parameters[base]; ok {
		return dig(v, path)
	}
	i, ok := r.rb.byName[base]
	if !ok || path == "" {
		return nil, false, nil
	}
	s := &r.rb.steps[i]
	rec := x.latest(s.Name)
	if rec == nil {
		return nil, false, nil
	}
	path = strings.TrimPrefix(path, ".")
	if v, ok := rec.Outputs[path]; ok {
		return v, true, nil
	}
	name, rest := splitPath(path)
	v, ok := rec.Outputs[name]
	if !ok {
		return nil, false, nil
	}
	return dig(v, rest)
}

// splitPath cuts a name before its first dot or bracket.
func splitPath(s string) (base, path string) {
	if i := strings.IndexAny(s, ".["); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// dig follows .key, ['key'] and [n].
func dig(v any, path string) (any, bool, error) {
	for path != "" {
		var key string
		if path[0] == '.' {
			key, path = splitPath(path[1:])
		} else {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return nil, false, nil
			}
			key, path = strings.Trim(path[1:end], "'"), path[end+1:]
		}
		ok := false
		switch w := v.(type) {
		case map[string]any:
			v, ok = w[key]
		case []any:
			if n, err := strconv.Atoi(key); err == nil && n >= 0 && n < len(w) {
				v, ok = w[n], true
			}
		}
		if !ok {
			return nil, false, nil
		}
	}
	return v, true, nil
}

// system gives the system variables (A7), the time of now.
func (r *run) system(ref string) (string, bool) {
	switch ref {
	case "global:ACCOUNT_ID":
		return r.x.System.AccountID, true
	case "global:REGION":
		return r.x.System.Region, true
	case "global:AWS_PARTITION":
		return r.x.System.Partition, true
	case "global:DATE":
		return r.now.UTC().Format("2006-01-02"), true
	case "global:DATE_TIME":
		return r.now.UTC().Format("2006-01-02_15.04.05"), true
	case "automation:EXECUTION_ID":
		return r.x.ID, true
	}
	return "", false
}

// given reports whether a placeholder that names a step finds an output; others always do.
func (r *run) given(ref string) bool {
	base, _ := splitPath(ref)
	if _, step := r.rb.byName[base]; !step {
		return true
	}
	_, ok, _ := r.get(ref)
	if !ok { // keys of maps are not imagined
		rec := r.x.latest(base)
		return rec != nil && (rec.Status == Success || rec.Action == "aws:loop")
	}
	return ok
}
