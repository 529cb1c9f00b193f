package automation

import (
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/document"
)

// loop begins aws:loop: do-while with a LoopCondition, for-each with Iterators (A13).
func (r *run) loop(i int) {
	x := r.x
	rec := &x.Steps[i]
	s := r.step(rec)
	lim := x.Limits.withDefaults()
	l := &Loop{Step: i, Most: lim.Iterations}
	if v, ok := rec.Inputs["MaxIterations"]; ok && v != nil {
		n, ok := whole(v)
		if !ok || n < 1 || n > int64(lim.Iterations) {
			r.failed(i, Failed, invalid("MaxIterations must be a whole number from 1 to %d", lim.Iterations), false)
			return
		}
		l.Most = int(n)
	}
	if s.until == nil {
		items, err := iterators(rec.Inputs["Iterators"], text(orNil(rec.Inputs["IteratorDataType"])))
		if err == nil && len(items) > lim.Iterators {
			err = fmt.Errorf("there are %d, at most %d are allowed", len(items), lim.Iterators)
		}
		if err != nil {
			r.failed(i, Failed, invalid("Iterators: %s", err), false)
			return
		}
		if len(items) == 0 {
			r.finish(i, Success, nil)
			return
		}
		l.Items = items
	}
	x.Loop, x.Current = l, -1
	r.iteration()
}

func orNil(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// iterators reads what a for-each loop runs over.
func iterators(v any, typ string) ([]any, error) {
	list, ok := v.([]any)
	if s, is := v.(string); !ok && is {
		d, err := decode([]byte(s))
		if list, ok = d.([]any); err != nil || !ok {
			return nil, errors.New("they are a String, not a list")
		}
	} else if !ok {
		return nil, fmt.Errorf("they are a %s, not a list", kindOf(v))
	}
	out := make([]any, len(list))
	for i, it := range list {
		var err error
		switch typ {
		case "", "String":
			out[i] = text(it)
		case "Boolean", "Integer":
			out[i], err = typed(it, document.ParameterType(typ))
		case "StringMap":
			if s, is := it.(string); is {
				it, err = decode([]byte(s))
			}
			if err == nil {
				out[i], err = typed(it, document.TypeStringMap)
			}
		default:
			return nil, fmt.Errorf("IteratorDataType %q: it is Boolean, Integer, String or StringMap", clip(typ))
		}
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return out, nil
}

// iteration begins the next round.
func (r *run) iteration() {
	l := r.x.Loop
	l.Iteration++
	rec := &r.x.Steps[l.Step]
	rec.Outputs = map[string]any{"CurrentIteration": int64(l.Iteration)}
	if l.Items != nil {
		rec.Outputs["CurrentIteratorValue"] = clone(l.Items[l.Iteration-1])
	}
	r.next = r.step(rec).body[0]
}

// iterate is the end of a round. At the most iterations a loop ends well, also when its condition still holds or iterators are left.
func (r *run) iterate() {
	x := r.x
	l := x.Loop
	i := l.Step
	again := l.Iteration < l.Most
	if r.explore {
		again = l.Iteration < exploredIterations
	} else if r.step(&x.Steps[i]).until == nil {
		again = again && l.Iteration < len(l.Items)
	} else {
		ok, err := r.holds(r.step(&x.Steps[i]).until)
		if err != nil { // what the loop's own onFailure is for
			x.Loop = nil
			r.failed(i, Failed, invalid("LoopCondition: %s", err), false)
			return
		}
		again = again && ok
	}
	if again {
		r.iteration()
		return
	}
	x.Loop = nil
	r.finish(i, Success, nil)
}
