package fleet

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// nodeSet is the folded set of nodes of an entry in memory: a bitmap, or a few ordinals. It is never changed.
type nodeSet struct {
	few []uint32
	bm  *roaring.Bitmap
}

func newNodeSet(b *roaring.Bitmap) nodeSet {
	if n := b.GetCardinality(); n <= 8 {
		if n == 0 {
			return nodeSet{}
		}
		return nodeSet{few: b.ToArray()}
	}
	return nodeSet{bm: b}
}

func (n nodeSet) size() int64 {
	if n.bm != nil {
		return int64(n.bm.GetSizeInBytes()) + 96
	}
	return int64(4 * len(n.few))
}

// gather makes unions of sets of nodes.
type gather struct {
	few []uint32
	bms []*roaring.Bitmap
}

func (g *gather) add(n nodeSet) {
	if n.bm != nil {
		g.bms = append(g.bms, n.bm)
	}
	g.few = append(g.few, n.few...)
}

// union returns a set that is the caller's.
func (g *gather) union() *roaring.Bitmap {
	var out *roaring.Bitmap
	switch len(g.bms) {
	case 0:
		out = roaring.New()
	case 1:
		out = g.bms[0].Clone()
	default:
		out = roaring.FastOr(g.bms...)
	}
	slices.Sort(g.few)
	out.AddMany(g.few)
	return out
}

// count returns how many nodes the union has, without making it where that can be helped.
func (g *gather) count() uint64 {
	slices.Sort(g.few)
	g.few = slices.Compact(g.few)
	more := func(in ...*roaring.Bitmap) (n uint64) {
	few:
		for _, o := range g.few {
			for _, b := range in {
				if b.Contains(o) {
					continue few
				}
			}
			n++
		}
		return n
	}
	switch len(g.bms) {
	case 0:
		return uint64(len(g.few))
	case 1:
		return g.bms[0].GetCardinality() + more(g.bms[0])
	case 2:
		return g.bms[0].OrCardinality(g.bms[1]) + more(g.bms...)
	}
	return g.union().GetCardinality()
}
