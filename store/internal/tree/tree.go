// Package tree is an ordered map of byte strings with constant-time snapshots: a B+tree that copies what it changes.
//
// memstore keeps its states in it, drivers keep the unwritten writes of a transaction in it. The map keeps the slices it is given.
package tree

import (
	"bytes"
	"iter"
	"slices"
)

const (
	fan = 32      // most entries of a node
	low = fan / 4 // a node with fewer is merged with a neighbour if both fit into one
)

// owner marks the nodes that one Map may change in place.
type owner struct{ _ byte }

type node struct {
	own  *owner
	keys [][]byte // leaf: the keys; inner: keys[i] is at most the least key of kids[i] (keys[0] is not looked at)
	vals [][]byte // leaf only
	kids []*node  // inner only
}

// Map is an ordered map. The zero Map is empty. It is for one goroutine at a time; a Map and its clones are independent.
type Map struct {
	root *node
	own  *owner
	n    int
}

// Len returns the number of entries.
func (m *Map) Len() int { return m.n }

// Clone returns a copy in constant time; later changes of either do not show in the other.
func (m *Map) Clone() Map {
	m.own = nil
	return Map{root: m.root, n: m.n}
}

// Frozen returns a copy of m that is taken without touching m: for a map that nobody changes any more and many goroutines read.
func (m *Map) Frozen() Map { return Map{root: m.root, n: m.n} }

// find returns the place of key in a leaf, and whether it is there.
func (n *node) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(n.keys, key, bytes.Compare)
}

// kid returns the index of the child that key belongs to.
func (n *node) kid(key []byte) int {
	lo, hi := 1, len(n.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if bytes.Compare(n.keys[mid], key) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// Get returns the value of key and whether key is there.
func (m *Map) Get(key []byte) ([]byte, bool) {
	n := m.root
	if n == nil {
		return nil, false
	}
	for n.kids != nil {
		n = n.kids[n.kid(key)]
	}
	i, ok := n.find(key)
	if !ok {
		return nil, false
	}
	return n.vals[i], true
}

// mine returns n or a copy of it that m may change.
func (m *Map) mine(n *node) *node {
	if n.own == m.own {
		return n
	}
	grown := func(s [][]byte) [][]byte { return append(make([][]byte, 0, min(len(s)+8, fan+1)), s...) }
	c := &node{own: m.own, keys: grown(n.keys)}
	if n.kids != nil {
		c.kids = append(make([]*node, 0, min(len(n.kids)+8, fan+1)), n.kids...)
	} else {
		c.vals = grown(n.vals)
	}
	return c
}

func (m *Map) begin() {
	if m.own == nil {
		m.own = new(owner)
	}
}

// Set sets the value of key. Both slices are kept.
func (m *Map) Set(key, val []byte) {
	m.begin()
	if m.root == nil {
		m.root = &node{own: m.own, keys: [][]byte{key}, vals: [][]byte{val}}
		m.n = 1
		return
	}
	root, right := m.set(m.root, key, val)
	if right != nil {
		root = &node{own: m.own, keys: [][]byte{nil, least(right)}, kids: []*node{root, right}}
	}
	m.root = root
}

func least(n *node) []byte {
	for n.kids != nil {
		n = n.kids[0]
	}
	return n.keys[0]
}

// set returns the changed n, and its right half if it had to be split.
func (m *Map) set(n *node, key, val []byte) (left, right *node) {
	n = m.mine(n)
	if n.kids == nil {
		i, ok := n.find(key)
		if ok {
			n.vals[i] = val
			return n, nil
		}
		n.keys = slices.Insert(n.keys, i, key)
		n.vals = slices.Insert(n.vals, i, val)
		m.n++
	} else {
		i := n.kid(key)
		kid, more := m.set(n.kids[i], key, val)
		n.kids[i] = kid
		if more != nil {
			n.keys = slices.Insert(n.keys, i+1, least(more))
			n.kids = slices.Insert(n.kids, i+1, more)
		}
	}
	if len(n.keys) <= fan {
		return n, nil
	}
	at := len(n.keys) / 2
	if n.kids == nil && bytes.Equal(n.keys[len(n.keys)-1], key) {
		at = len(n.keys) - 1 // ascending insertion leaves full leaves behind
	}
	right = &node{own: m.own, keys: slices.Clone(n.keys[at:])}
	clear(n.keys[at:])
	n.keys = n.keys[:at]
	if n.kids == nil {
		right.vals = slices.Clone(n.vals[at:])
		clear(n.vals[at:])
		n.vals = n.vals[:at]
	} else {
		right.kids = slices.Clone(n.kids[at:])
		clear(n.kids[at:])
		n.kids = n.kids[:at]
	}
	return n, right
}

// Delete removes key and reports whether it was there.
func (m *Map) Delete(key []byte) bool {
	if _, ok := m.Get(key); !ok {
		return false
	}
	m.begin()
	m.root = m.del(m.root, key)
	m.n--
	for m.root != nil && m.root.kids != nil && len(m.root.kids) == 1 {
		m.root = m.root.kids[0]
	}
	return true
}

// del removes key, which is there, and returns the changed n, nil if nothing is left of it.
func (m *Map) del(n *node, key []byte) *node {
	n = m.mine(n)
	if n.kids == nil {
		i, _ := n.find(key)
		n.keys = slices.Delete(n.keys, i, i+1)
		n.vals = slices.Delete(n.vals, i, i+1)
	} else {
		i := n.kid(key)
		kid := m.del(n.kids[i], key)
		n.kids[i] = kid
		switch {
		case kid == nil:
			n.keys = slices.Delete(n.keys, i, i+1)
			n.kids = slices.Delete(n.kids, i, i+1)
		case len(kid.keys) < low:
			if i+1 < len(n.kids) {
				m.merge(n, i)
			} else if i > 0 {
				m.merge(n, i-1)
			}
		}
	}
	if len(n.keys) == 0 {
		return nil
	}
	return n
}

// merge makes one node of the children i and i+1 of n, if they fit.
func (m *Map) merge(n *node, i int) {
	a, b := n.kids[i], n.kids[i+1]
	if len(a.keys)+len(b.keys) > fan*3/4 {
		return
	}
	a = m.mine(a)
	if a.kids == nil {
		a.keys = append(a.keys, b.keys...)
		a.vals = append(a.vals, b.vals...)
	} else {
		a.keys = append(append(a.keys, n.keys[i+1]), b.keys[1:]...)
		a.kids = append(a.kids, b.kids...)
	}
	n.kids[i] = a
	n.keys = slices.Delete(n.keys, i+1, i+2)
	n.kids = slices.Delete(n.kids, i+1, i+2)
}

// Scan yields the entries with start <= key < end in order, or in the opposite order. A nil bound is open. It iterates over
// the state of m at the time the iteration starts: m may be changed meanwhile.
func (m *Map) Scan(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		m.own = nil
		ScanFrozen(*m, start, end, reverse)(yield)
	}
}

// ScanFrozen is Scan over a map that is not changed any more.
func ScanFrozen(m Map, start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		switch {
		case m.root == nil:
		case reverse:
			m.root.down(start, end, yield)
		default:
			m.root.up(start, end, yield)
		}
	}
}

func (n *node) up(start, end []byte, yield func(k, v []byte) bool) bool {
	if n.kids != nil {
		i := 0
		if start != nil {
			i = n.kid(start)
		}
		for first := true; i < len(n.kids); i++ {
			from := start
			if !first {
				from = nil
				if end != nil && bytes.Compare(n.keys[i], end) >= 0 {
					return true
				}
			}
			first = false
			if !n.kids[i].up(from, end, yield) {
				return false
			}
		}
		return true
	}
	i := 0
	if start != nil {
		i, _ = n.find(start)
	}
	for ; i < len(n.keys); i++ {
		if end != nil && bytes.Compare(n.keys[i], end) >= 0 {
			return false
		}
		if !yield(n.keys[i], n.vals[i]) {
			return false
		}
	}
	return true
}

func (n *node) down(start, end []byte, yield func(k, v []byte) bool) bool {
	if n.kids != nil {
		i := len(n.kids) - 1
		if end != nil {
			i = n.kid(end)
		}
		for first := true; i >= 0; i-- {
			to := end
			if !first {
				to = nil
			}
			first = false
			if !n.kids[i].down(start, to, yield) {
				return false
			}
		}
		return true
	}
	i := len(n.keys)
	if end != nil {
		i, _ = n.find(end)
	}
	for i--; i >= 0; i-- {
		if start != nil && bytes.Compare(n.keys[i], start) < 0 {
			return false
		}
		if !yield(n.keys[i], n.vals[i]) {
			return false
		}
	}
	return true
}
