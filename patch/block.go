package patch

// block marks missing patches that need a package which is rejected with BLOCK: they are not installed either (R2, R4). A package that is not
// installed and itself needs a rejected one counts as rejected, so that chains are found.
func (e *evaluation) block() {
	if e.b.RejectedAction != Block || len(e.rejected.entries) == 0 {
		return
	}
	in := e.input
	needs := false
	for i := range e.result.Patches {
		if p := &e.result.Patches[i]; p.State == StateMissing {
			if a := e.offer(p.Key, p.Wanted); a != nil && len(a.Requires) > 0 {
				needs = true
				break
			}
		}
	}
	if !needs {
		return
	}
	d := dependents{evaluation: e, bad: map[string]string{}, some: map[string][]int32{}}
	fine := map[string]bool{} // names of which some version on offer is not rejected
	for i := range in.available {
		a := &in.available[i]
		if e.rejects(a) < 0 {
			fine[a.Name] = true
		} else {
			d.some[a.Name] = nil
		}
	}
	for i := range in.available {
		a := &in.available[i]
		if !fine[a.Name] {
			d.bad[a.Name] = a.Name
		} else if _, ok := d.some[a.Name]; ok && e.rejects(a) < 0 {
			d.some[a.Name] = append(d.some[a.Name], int32(i))
		}
	}
	for i := range in.installed {
		p := &in.installed[i]
		if !fine[p.Name] && e.match.find(&e.rejected, p.Name, p.Version, p.Arch, nil, "") >= 0 {
			d.bad[p.Name] = p.Name
		}
	}
	for changed := true; changed; {
		changed = false
		for n := in.index.installed; n < len(in.index.sets); n++ {
			g := &in.index.sets[n]
			if d.bad[g.name] != "" {
				continue
			}
			root, all := "", g.avail >= 0
			for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
				r := d.blocker(&in.available[i])
				all = all && r != ""
				if root == "" || r < root {
					root = r
				}
			}
			if all {
				d.bad[g.name], changed = root, true
			}
		}
	}
	for i := range e.result.Patches {
		if p := &e.result.Patches[i]; p.State == StateMissing {
			if a := e.offer(p.Key, p.Wanted); a != nil {
				p.BlockedBy = d.blocker(a)
			}
		}
	}
}

// dependents knows which names cannot be had: bad maps each to the rejected package behind it; some holds, for names of which only some
// versions are rejected, the others.
type dependents struct {
	*evaluation
	bad  map[string]string
	some map[string][]int32
}

// blocker returns the rejected package that a needs, "" when it needs none.
func (d *dependents) blocker(a *Available) string {
	for i := range a.Requires {
		r := &a.Requires[i]
		if root := d.bad[r.Name]; root != "" {
			return root
		}
		others, partly := d.some[r.Name]
		if !partly {
			continue
		}
		ok := false
		for _, n := range others {
			ok = ok || r.satisfies(d.family, d.input.available[n].Version)
		}
		for n := range d.input.installed {
			p := &d.input.installed[n]
			ok = ok || p.Name == r.Name && r.satisfies(d.family, p.Version)
		}
		if !ok {
			return r.Name
		}
	}
	return ""
}

// offer finds the entry of a version of a package, nil when none is on offer.
func (e *evaluation) offer(k Key, version string) *Available {
	if version == "" {
		return nil
	}
	in := e.input
	n := in.index.find(k.Name, k.Arch, false)
	if n < 0 {
		return nil
	}
	best := int32(-1)
	for i := in.index.sets[n].avail; i >= 0; i = in.index.nextAvail[i] {
		if e.family.Compare(in.available[i].Version, version) == 0 && (best < 0 || e.prefer(i, best)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return &in.available[best]
}
