package patch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Difference is one place in which two baselines differ.
type Difference struct {
	Path string `json:"path"` // $.ApprovalRules.PatchRules[0].ApproveAfterDays
	From string `json:"from"` // as JSON, "" where the first has nothing
	To   string `json:"to"`   // as JSON, "" where the second has nothing
}

// Diff lists the places in which two baselines differ in AWS's form, sorted by path. What the difference does to a node is told by Compare.
func Diff(a, b *Baseline) ([]Difference, error) {
	var x, y any
	for _, s := range []struct {
		from *Baseline
		to   *any
	}{{a, &x}, {b, &y}} {
		text, err := json.Marshal(s.from)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, s.to); err != nil {
			return nil, err
		}
	}
	var out []Difference
	diff(&out, "$", x, y)
	return out, nil
}

func diff(out *[]Difference, path string, x, y any) {
	xm, xok := x.(map[string]any)
	ym, yok := y.(map[string]any)
	if xok && yok {
		var keys []string
		for k := range xm {
			keys = append(keys, k)
		}
		for k := range ym {
			if _, ok := xm[k]; !ok {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			diff(out, path+"."+k, xm[k], ym[k])
		}
		return
	}
	xl, xok := x.([]any)
	yl, yok := y.([]any)
	if xok && yok {
		for i := range max(len(xl), len(yl)) {
			var p, q any
			if i < len(xl) {
				p = xl[i]
			}
			if i < len(yl) {
				q = yl[i]
			}
			diff(out, path+"["+strconv.Itoa(i)+"]", p, q)
		}
		return
	}
	from, to := shown(x), shown(y)
	if from != to {
		*out = append(*out, Difference{path, from, to})
	}
}

func shown(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
