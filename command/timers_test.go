package command

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is armed, armed anew and disarmed, in whatever class, also when the clock steps back: what is due comes, once, the earliest first, and nothing else.
func TestTimersKeepOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := &Engine{}
		now := t0
		all := make([]*open, rapid.IntRange(1, 8).Draw(r, "n"))
		for i := range all {
			all[i] = &open{Invocation: Invocation{Node: node(i)}}
		}
		want := map[*open]time.Time{}
		check := func() {
			var first *time.Time
			for _, at := range want {
				if first == nil || at.Before(*first) {
					first = &at
				}
			}
			x, _ := e.timers.first()
			if (x == nil) != (first == nil) || x != nil && !x.at.Equal(*first) {
				r.Fatalf("the first is %v, not %v", x, first)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"arm": func(r *rapid.T) {
				o, class := rapid.SampledFrom(all).Draw(r, "o"), rapid.IntRange(-1, classes).Draw(r, "class")
				at := now.Add(time.Duration(1+rapid.IntRange(0, 5).Draw(r, "s")) * time.Second)
				e.arm(o, at, class)
				want[o] = at
			},
			"disarm": func(r *rapid.T) {
				o := rapid.SampledFrom(all).Draw(r, "o")
				e.disarm(o)
				delete(want, o)
			},
			"time": func(r *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(-2, 6).Draw(r, "s")) * time.Second)
				last := time.Time{}
				for o := e.timers.pop(now); o != nil; o = e.timers.pop(now) {
					at, ok := want[o]
					if !ok || at.After(now) || at.Before(last) {
						r.Fatalf("%s came, due %v, after %v, at %v", o.Node, at, last, now)
					}
					last = at
					delete(want, o)
				}
			},
		})
	})
}
