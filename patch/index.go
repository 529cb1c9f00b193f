package patch

import (
	"hash/maphash"
	"slices"
	"strings"
)

// Key names a package on a node: versions of one name and architecture are one package. Windows updates and macOS labels have no architecture.
type Key struct {
	Name string `json:"name"`
	Arch string `json:"arch,omitempty"`
}

// String returns "name.arch", or the name alone without an architecture.
func (k Key) String() string {
	if k.Arch == "" {
		return k.Name
	}
	return k.Name + "." + k.Arch
}

func (k Key) compare(o Key) int {
	if c := strings.Compare(k.Name, o.Name); c != 0 {
		return c
	}
	return strings.Compare(k.Arch, o.Arch)
}

// set is all versions of one package: chains through index.nextInst and nextAvail, -1 at the end.
type set struct {
	name, arch  string
	inst, avail int32
}

// index groups what is installed and available by package. Sets of installed packages come first.
type index struct {
	sets      []set
	nextInst  []int32
	nextAvail []int32
	installed int // the first sets, those with something installed
	noarch    string
	native    string
	table     []int32 // hash to set+1, linear probing
	seed      maphash.Seed
}

// fold gives the architecture under which versions count as one package.
func (x *index) fold(arch string) string {
	if x.native != "" && arch == x.noarch {
		return x.native
	}
	return arch
}

func newIndex(f Family, native string, installed []Installed, available []Available) *index {
	x := &index{native: native, noarch: "noarch", seed: maphash.MakeSeed()}
	if f == FamilyApt {
		x.noarch = "all"
	}
	size := 16
	for size < 2*(len(installed)+len(available)) {
		size *= 2
	}
	x.table = make([]int32, size)
	x.sets = make([]set, 0, len(installed)+len(available))
	x.nextInst = make([]int32, len(installed))
	x.nextAvail = make([]int32, len(available))
	for i := range installed {
		g := x.find(installed[i].Name, installed[i].Arch, true)
		x.nextInst[i] = x.sets[g].inst
		x.sets[g].inst = int32(i)
	}
	x.installed = len(x.sets)
	last := int32(-1)
	for i := range available {
		a := &available[i]
		g := last // neighbours mostly differ, but versions of one package often lie together
		if g < 0 || x.sets[g].name != a.Name || x.fold(x.sets[g].arch) != x.fold(a.Arch) {
			g = x.find(a.Name, a.Arch, true)
			last = g
		}
		x.nextAvail[i] = x.sets[g].avail
		x.sets[g].avail = int32(i)
	}
	return x
}

func (x *index) find(name, arch string, add bool) int32 {
	h := maphash.String(x.seed, name)
	mask := uint64(len(x.table) - 1)
	folded := x.fold(arch)
	for i := h & mask; ; i = (i + 1) & mask {
		g := x.table[i] - 1
		if g < 0 {
			if !add {
				return -1
			}
			x.sets = append(x.sets, set{name: name, arch: arch, inst: -1, avail: -1})
			x.table[i] = int32(len(x.sets))
			return int32(len(x.sets) - 1)
		}
		if x.sets[g].name == name && x.fold(x.sets[g].arch) == folded {
			return g
		}
	}
}

// order returns the numbers of the sets of installed packages by name and architecture.
func (x *index) order() []int32 {
	out := make([]int32, x.installed)
	for i := range out {
		out[i] = int32(i)
	}
	slices.SortFunc(out, func(a, b int32) int {
		return Key{x.sets[a].name, x.sets[a].arch}.compare(Key{x.sets[b].name, x.sets[b].arch})
	})
	return out
}
