package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
)

// The engine trusts its pages: it checks none but the two that it begins with. What follows reads its format (bbolt's internal/common: page, meta,
// elements) to find damage before it is followed in a circle or written to.

const (
	pageHeader  = 16
	flagBranch  = 0x01
	flagLeaf    = 0x02
	flagFree    = 0x10
	magic       = 0xED0CDAED
	leafIsTree  = 0x01 // a leaf element that is a bucket
	bucketBytes = 16
	maxFound    = 10 // are told; the rest is counted
)

var order = binary.NativeEndian

// walker reads one commit of the file.
type walker struct {
	f        io.ReaderAt
	pageSize int
	end      uint64   // one more than the last page
	used     []uint64 // bit set of the pages that the trees use
	leaves   bool     // look into leaves too
	stop     func() error
	found    []string
	more     int // not in found
}

// verify checks the file as of tx: its branches and free list, and with leaves everything. A tree's leaves are the bulk of a file; without
// them it takes milliseconds.
func verify(f io.ReaderAt, tx *bolt.Tx, pageSize int, leaves bool, stop func() error) error {
	root, free, err := meta(f, uint64(tx.ID()), pageSize)
	if err != nil {
		return err
	}
	w := &walker{f: f, pageSize: pageSize, end: uint64(tx.Size()) / uint64(pageSize), leaves: leaves, stop: stop}
	w.used = make([]uint64, w.end/64+1)
	w.tree(root, true)
	if free != ^uint64(0) {
		w.free(free)
	}
	if err := stop(); err != nil {
		return err
	}
	if len(w.found) == 0 {
		return nil
	}
	reason := strings.Join(w.found, "; ")
	if w.more > 0 {
		reason += fmt.Sprintf("; and %d more", w.more)
	}
	return &DamagedError{reason}
}

// meta returns the root page and the page of the free list of the commit txid.
func meta(f io.ReaderAt, txid uint64, pageSize int) (root, free uint64, err error) {
	buf := make([]byte, pageHeader+64)
	for i := range 2 {
		if _, err := f.ReadAt(buf, int64(i*pageSize)); err != nil {
			return 0, 0, err
		}
		b := buf[pageHeader:]
		if order.Uint32(b) == magic && order.Uint64(b[48:]) == txid {
			return order.Uint64(b[16:]), order.Uint64(b[32:]), nil
		}
	}
	return 0, 0, errPassed
}

// spare says whether both first pages are whole. One alone is enough to open: the other is that of a commit that was cut short by a
// crash and never acknowledged, or it was the last one and has been damaged since; nothing tells which.
func spare(f io.ReaderAt, pageSize int) bool {
	buf := make([]byte, pageHeader+64)
	for i := range 2 {
		if _, err := f.ReadAt(buf, int64(i*pageSize)); err != nil {
			return false
		}
		h := fnv.New64a()
		h.Write(buf[pageHeader : pageHeader+56])
		if h.Sum64() != order.Uint64(buf[pageHeader+56:]) {
			return false
		}
	}
	return true
}

func (w *walker) bad(format string, args ...any) {
	if len(w.found) == maxFound {
		w.more++
		return
	}
	w.found = append(w.found, fmt.Sprintf(format, args...))
}

// take notes that the pages from id on are used, and returns false if they cannot be.
func (w *walker) take(id, n uint64) bool {
	if id < 2 || n > w.end || id+n > w.end {
		w.bad("page %d (and %d more) lies outside of the file's %d pages", id, n-1, w.end)
		return false
	}
	for i := id; i < id+n; i++ {
		if w.used[i/64]&(1<<(i%64)) != 0 {
			w.bad("page %d is used twice", i)
			return false
		}
		w.used[i/64] |= 1 << (i % 64)
	}
	return true
}

// page reads the page id with what overflows it; count is the number of its elements.
func (w *walker) page(id uint64) (p []byte, flags, count int, ok bool) {
	head := make([]byte, pageHeader)
	if _, err := w.f.ReadAt(head, int64(id)*int64(w.pageSize)); err != nil {
		w.bad("page %d cannot be read: %v", id, err)
		return nil, 0, 0, false
	}
	if got := order.Uint64(head); got != id {
		w.bad("page %d says that it is page %d", id, got)
		return nil, 0, 0, false
	}
	flags, count = int(order.Uint16(head[8:])), int(order.Uint16(head[10:]))
	more := uint64(order.Uint32(head[12:]))
	if more > 0 && !w.take(id+1, more) {
		return nil, 0, 0, false
	}
	p = make([]byte, (more+1)*uint64(w.pageSize))
	if _, err := w.f.ReadAt(p, int64(id)*int64(w.pageSize)); err != nil {
		w.bad("page %d cannot be read: %v", id, err)
		return nil, 0, 0, false
	}
	return p, flags, count, true
}

// slice returns n bytes that begin pos bytes after the element at.
func slice(p []byte, at int, pos, n uint32) ([]byte, bool) {
	from := uint64(at) + uint64(pos)
	if from+uint64(n) > uint64(len(p)) {
		return nil, false
	}
	return p[from : from+uint64(n)], true
}

// tree walks a bucket, level by level: all leaves of a tree lie equally deep, so that the depth of one tells which pages are branches.
func (w *walker) tree(root uint64, buckets bool) {
	level := []uint64{root}
	if !w.take(root, 1) {
		return
	}
	for len(level) > 0 && w.stop() == nil {
		flags, ok := w.flags(level[0])
		if !ok {
			return
		}
		if flags == flagLeaf {
			if w.leaves || buckets {
				var last []byte
				for _, id := range level {
					if last = w.leaf(id, last, buckets); w.stop() != nil {
						return
					}
				}
			}
			return
		}
		var next []uint64
		var last []byte
		for _, id := range level {
			var kids []uint64
			kids, last = w.branch(id, last)
			next = append(next, kids...)
		}
		level = next
	}
}

// flags reads a page's flags.
func (w *walker) flags(id uint64) (flags int, ok bool) {
	head := make([]byte, pageHeader)
	if _, err := w.f.ReadAt(head, int64(id)*int64(w.pageSize)); err != nil || order.Uint64(head) != id {
		w.bad("page %d is not where it should be", id)
		return 0, false
	}
	return int(order.Uint16(head[8:])), true
}

func (w *walker) branch(id uint64, last []byte) (kids []uint64, end []byte) {
	p, flags, count, ok := w.page(id)
	if !ok {
		return nil, last
	}
	if flags != flagBranch || count == 0 {
		w.bad("page %d should be a branch and has flags %#x and %d elements", id, flags, count)
		return nil, last
	}
	for i := range count {
		at := pageHeader + 16*i
		if at+16 > len(p) {
			w.bad("page %d has no room for %d elements", id, count)
			return kids, last
		}
		key, ok := slice(p, at, order.Uint32(p[at:]), order.Uint32(p[at+4:]))
		if !ok || len(key) > store.MaxKey {
			w.bad("page %d: the key of element %d is not within the page", id, i)
			return kids, last
		}
		if last != nil && bytes.Compare(last, key) >= 0 {
			w.bad("page %d: element %d is out of order", id, i)
		}
		last = key
		if kid := order.Uint64(p[at+8:]); w.take(kid, 1) {
			kids = append(kids, kid)
		}
	}
	return kids, last
}

func (w *walker) leaf(id uint64, last []byte, buckets bool) (end []byte) {
	p, flags, count, ok := w.page(id)
	if !ok {
		return last
	}
	if flags != flagLeaf {
		w.bad("page %d should be a leaf and has flags %#x", id, flags)
		return last
	}
	return w.elements(p, id, count, last, buckets)
}

func (w *walker) elements(p []byte, id uint64, count int, last []byte, buckets bool) (end []byte) {
	for i := range count {
		at := pageHeader + 16*i
		if at+16 > len(p) {
			w.bad("page %d has no room for %d elements", id, count)
			return last
		}
		pos, klen, vlen := order.Uint32(p[at+4:]), order.Uint32(p[at+8:]), order.Uint32(p[at+12:])
		key, ok1 := slice(p, at, pos, klen)
		value, ok2 := slice(p, at, pos+klen, vlen)
		if !ok1 || !ok2 || len(key) > store.MaxKey {
			w.bad("page %d: element %d is not within the page", id, i)
			return last
		}
		if last != nil && bytes.Compare(last, key) >= 0 {
			w.bad("page %d: element %d is out of order", id, i)
		}
		last = key
		if isTree := order.Uint32(p[at:])&leafIsTree != 0; isTree != buckets {
			w.bad("page %d: element %d is of the wrong kind", id, i)
			continue
		}
		if !buckets {
			continue
		}
		if len(value) < bucketBytes {
			w.bad("page %d: bucket %q is cut short", id, key)
			continue
		}
		if root := order.Uint64(value); root != 0 {
			w.tree(root, false)
		} else if inline := value[bucketBytes:]; len(inline) >= pageHeader {
			w.elements(inline, id, int(order.Uint16(inline[10:])), nil, false)
		}
	}
	return last
}

// free checks that no page of the free list is used.
func (w *walker) free(id uint64) {
	if !w.take(id, 1) {
		return
	}
	p, flags, count, ok := w.page(id)
	if !ok {
		return
	}
	if flags != flagFree {
		w.bad("page %d should be the free list and has flags %#x", id, flags)
		return
	}
	at, n := pageHeader, uint64(count)
	if count == 0xffff {
		n = order.Uint64(p[at:])
		at += 8
	}
	if n > uint64(len(p)-at)/8 {
		w.bad("page %d: the free list says %d pages and has no room for them", id, n)
		return
	}
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = order.Uint64(p[at+8*i:])
	}
	slices.Sort(ids)
	for i, id := range ids {
		switch {
		case id < 2 || id >= w.end:
			w.bad("free page %d lies outside of the file's %d pages", id, w.end)
		case i > 0 && ids[i-1] == id:
			w.bad("page %d is free twice", id)
		case w.used[id/64]&(1<<(id%64)) != 0:
			w.bad("page %d is free and used", id)
		}
	}
}

// Check reads the whole file, as of one commit, and returns a *DamagedError that says what is wrong with its structure, nil if nothing is. Whether the values are
// what was written is for who wrote them to say (store/record). It may run beside Views and Updates, under the conditions of [Store.Backup].
func (s *Store) Check(ctx context.Context) error {
	for tries := 0; ; tries++ {
		err := s.whole(ctx, func(eng *engine, tx *bolt.Tx, stop func() error) error {
			return verify(eng.file, tx, eng.db.Info().PageSize, true, stop)
		})
		if !errors.Is(err, errPassed) || tries == 100 {
			return err
		}
	}
}

// errPassed: two commits after the one to be checked have taken its first page.
var errPassed error = &DamagedError{"neither first page is of the commit that was opened"}
