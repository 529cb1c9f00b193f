package agent

import (
	"bytes"
	"testing"
)

func FuzzDecodeJournal(f *testing.F) {
	d := newStrictDisk()
	s := &FileStore{disk: d}
	if _, err := s.Load(); err != nil {
		f.Fatal(err)
	}
	e := testEntry(1)
	for range 3 {
		if err := s.Put(&e); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(d.now[refHash(e.Ref)+journalSuffix].bytes))
		e.Seq++
	}
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, good, known := decodeJournal(b)
		if !known {
			return
		}
		if e.Command == "" || good > int64(len(b)) {
			t.Fatalf("a reference of nothing, or %d good bytes of %d", good, len(b))
		}
		// What was read can be written and read again.
		d := newStrictDisk()
		s := &FileStore{disk: d}
		if _, err := s.Load(); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(&e); err != nil {
			return // times that JSON cannot hold
		}
		again, n, known := decodeJournal(d.now[refHash(e.Ref)+journalSuffix].bytes)
		if !known || n == 0 || again.Seq != e.Seq || again.Ref != e.Ref {
			t.Fatalf("%+v became %+v", e, again)
		}
	})
}
