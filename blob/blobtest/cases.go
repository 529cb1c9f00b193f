package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/fleetwright/fleetwright/blob"
)

func keys(t T, s blob.Store) {
	bad := []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b", "a b", "a\\b", "a\x00b", "ä", "a:b", "a*", "~", "a\n", "\xff",
		strings.Repeat("s", blob.MaxSegment+1), "a/" + strings.Repeat("s", blob.MaxSegment+1), strings.Repeat("abcdefg/", blob.MaxKey/8) + "a",
		strings.Repeat("abc/defg", blob.MaxKey/8) + "a"}
	for _, k := range bad {
		if n, err := s.Put(background(), k, strings.NewReader("x")); !errors.Is(err, blob.ErrBadKey) || n != 0 {
			t.Errorf("Put(%q) = %d, %v, want ErrBadKey", k, n, err)
		}
		if r, err := s.Open(background(), k); !errors.Is(err, blob.ErrBadKey) || r != nil {
			t.Errorf("Open(%q) gives %v, want ErrBadKey and no reader", k, err)
		}
		if err := s.Delete(background(), k); !errors.Is(err, blob.ErrBadKey) {
			t.Errorf("Delete(%q) = %v, want ErrBadKey", k, err)
		}
	}
	longest := strings.Repeat("a", blob.MaxSegment) // 128*3 + 3 + 125 = 512
	longest = longest + "/" + longest + "/" + longest + "/" + longest[:blob.MaxKey-3*(blob.MaxSegment+1)]
	good := []string{"a", "-", "_", "...", ".a", "a.", "..a", "a-b_c.d", "0/1/2", strings.Repeat("S", blob.MaxSegment), longest, strings.ToUpper(longest)}
	for _, k := range good {
		mustPut(t, s, k, []byte(k))
	}
	for _, k := range good {
		mustHave(t, s, k, []byte(k))
	}
}

func cancel(t T, s blob.Store) {
	mustPut(t, s, "a", []byte("old"))
	ctx, end := context.WithCancel(background())
	end()
	if _, err := s.Put(ctx, "a", strings.NewReader("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with an ended ctx = %v, want context.Canceled", err)
	}
	if _, err := s.Put(ctx, "b", strings.NewReader("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with an ended ctx = %v, want context.Canceled", err)
	}
	if r, err := s.Open(ctx, "a"); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("Open with an ended ctx = %v, want context.Canceled and no reader", err)
	}
	if err := s.Delete(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete with an ended ctx = %v, want context.Canceled", err)
	}
	mustHave(t, s, "a", []byte("old"))
	mustLack(t, s, "b")
}

func put(t T, s blob.Store) {
	for _, v := range []string{"first", "a longer second", "3rd"} {
		n, err := s.Put(background(), "k/v", strings.NewReader(v))
		if err != nil || n != int64(len(v)) {
			t.Fatalf("Put = %d, %v, want %d", n, err, len(v))
		}
		mustHave(t, s, "k/v", []byte(v))
	}
}

// pattern returns n bytes that differ from place to place.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func size(t T, s blob.Store) {
	for _, n := range []int{0, 1, 4095, 4096, 64<<10 - 1, 64<<10 + 1, 3<<20 + 7} {
		mustPut(t, s, "size", pattern(n, 1))
		mustHave(t, s, "size", pattern(n, 1))
	}
}

func whole(t T, s blob.Store) {
	before, after := pattern(100_000, 2), pattern(100_000, 3)
	mustPut(t, s, "k", before)
	early, err := s.Open(background(), "k")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	head := make([]byte, 10)
	if _, err := io.ReadFull(early, head); err != nil {
		t.Fatalf("reading: %v", err)
	}
	looked := false
	r := &tap{first: after[:60_000], rest: after[60_000:], do: func() error {
		looked = true
		mustHave(t, s, "k", before)
		return nil
	}}
	if _, err := s.Put(background(), "k", r); err != nil || !looked {
		t.Fatalf("Put: %v (read: %v)", err, looked)
	}
	mustHave(t, s, "k", after)
	readAll(t, early, "k", before[10:])
}

func abort(t T, s blob.Store) {
	mustPut(t, s, "old", []byte("old"))
	for _, k := range []string{"old", "new", "deep/er/new"} {
		n, err := s.Put(background(), k, &tap{first: []byte("half"), do: func() error { return errReader }})
		if !errors.Is(err, errReader) || n != 0 {
			t.Errorf("Put of a reader that fails = %d, %v, want 0 and the reader's error", n, err)
		}
		ctx, end := context.WithCancel(background())
		_, err = s.Put(ctx, k, &tap{first: []byte("half"), rest: []byte("rest"), do: func() error { end(); return nil }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Put whose ctx ends half-way = %v, want context.Canceled", err)
		}
		end()
	}
	mustHave(t, s, "old", []byte("old"))
	mustLack(t, s, "new")
	mustLack(t, s, "deep/er/new")
}

func alias(t T, s blob.Store) {
	b := []byte("bytes of the caller")
	want := bytes.Clone(b)
	mustPut(t, s, "reader", b)
	if _, err := s.Put(background(), "buffer", bytes.NewBuffer(b)); err != nil {
		t.Fatalf("Put: %v", err)
	}
	clear(b)
	mustHave(t, s, "reader", want)
	mustHave(t, s, "buffer", want)
	r, err := s.Open(background(), "reader")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("reading: %v", err)
	}
	clear(got)
	r.Close()
	mustHave(t, s, "reader", want)
}

func stall(t T, s blob.Store) {
	mustPut(t, s, "a", []byte("a"))
	mustPut(t, s, "gone", []byte("gone"))
	started, release := make(chan error, 1), make(chan struct{})
	slow := make(chan error, 1)
	go func() {
		_, err := s.Put(background(), "slow", &tap{first: []byte("sl"), rest: []byte("ow"), do: func() error {
			started <- nil
			<-release
			return nil
		}})
		slow <- err
	}()
	defer close(release)
	if err := await(t, started, "a Put that should read"); err != nil {
		t.Fatalf("Put: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(background(), "b", strings.NewReader("b"))
		if err == nil {
			_, err = s.Put(background(), "slow", strings.NewReader("fast"))
		}
		var r io.ReadCloser
		if err == nil {
			r, err = s.Open(background(), "a")
		}
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if err == nil {
			err = s.Delete(background(), "gone")
		}
		done <- err
	}()
	if err := await(t, done, "a call beside a Put whose reader blocks"); err != nil {
		t.Fatalf("beside a Put whose reader blocks: %v", err)
	}
	mustHave(t, s, "slow", []byte("fast"))
	release <- struct{}{}
	if err := await(t, slow, "a Put whose reader blocked"); err != nil {
		t.Fatalf("Put whose reader blocked: %v", err)
	}
	mustHave(t, s, "slow", []byte("slow"))
}

func missing(t T, s blob.Store) {
	mustPut(t, s, "a/b/c", []byte("x"))
	for _, k := range []string{"none", "a", "a/b", "a/b/c/d", "a/b/cc"} {
		if r, err := s.Open(background(), k); !errors.Is(err, blob.ErrNotFound) || r != nil {
			t.Errorf("Open(%q) = %v, want ErrNotFound and no reader", k, err)
		}
	}
}

func readers(t T, s blob.Store) {
	want := pattern(50_000, 4)
	mustPut(t, s, "k", want)
	one, err := s.Open(background(), "k")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	two, err := s.Open(background(), "k")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	head := make([]byte, 20_000)
	if _, err := io.ReadFull(one, head); err != nil || !bytes.Equal(head, want[:20_000]) {
		t.Fatalf("the first reader's beginning is wrong (%v)", err)
	}
	readAll(t, two, "k", want)
	if err := s.Delete(background(), "k"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	readAll(t, one, "k", want[20_000:])
}

func tree(t T, s blob.Store) {
	up, down := []string{"x/y/z", "x/y", "x"}, []string{"a", "a/b", "a/b/c"}
	for _, k := range append(up, down...) {
		mustPut(t, s, k, []byte("in "+k))
	}
	for _, k := range append(up, down...) {
		mustHave(t, s, k, []byte("in "+k))
	}
}

func letterCase(t T, s blob.Store) {
	all := []string{"Readme", "readme", "README", "Dir/x", "dir/x", "dir/X"}
	for _, k := range all {
		mustPut(t, s, k, []byte("in "+k))
	}
	for _, k := range all {
		mustHave(t, s, k, []byte("in "+k))
	}
}

func deletes(t T, s blob.Store) {
	gone := []string{"a/b/c", "a/b/d/e", "a/b/d/f", "one/blob"}
	kept := []string{"a/bc", "a/b-c/d", "a/b.c", "a/c", "z/a/b", "one/other"}
	for _, k := range append(gone, kept...) {
		mustPut(t, s, k, []byte("in "+k))
	}
	for _, k := range []string{"a/b", "one/blob", "never", "never/was", "a/b", "a/c/x"} {
		if err := s.Delete(background(), k); err != nil {
			t.Errorf("Delete(%q) = %v", k, err)
		}
	}
	for _, k := range gone {
		mustLack(t, s, k)
	}
	for _, k := range kept {
		mustHave(t, s, k, []byte("in "+k))
	}
	mustPut(t, s, "a/b/c", []byte("again"))
	mustHave(t, s, "a/b/c", []byte("again"))
}

func race(t T, s blob.Store) {
	const writers, rounds = 4, 25
	shared := []string{"r/x", "r/y", "r/deep/x"}
	value := func(w, round int) []byte { return bytes.Repeat([]byte{byte('a' + w)}, 1000+w*100+round) }
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				if _, err := s.Put(background(), shared[i%len(shared)], bytes.NewReader(value(w, i))); err != nil {
					t.Errorf("Put: %v", err)
				}
				if w == 0 && i%5 == 4 {
					if err := s.Delete(background(), "r/deep"); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
			}
		})
		wg.Go(func() {
			for i := range 2 * rounds {
				k := shared[i%len(shared)]
				r, err := s.Open(background(), k)
				if errors.Is(err, blob.ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Open(%q): %v", k, err)
					continue
				}
				b, err := io.ReadAll(r)
				r.Close()
				if err != nil || len(b) == 0 || bytes.Count(b, b[:1]) != len(b) || (len(b)-1000)/100 != int(b[0]-'a') {
					t.Errorf("a reader of %q saw %s (%v), which nobody put", k, brief(b), err)
				}
			}
		})
	}
	wg.Wait()
}
