package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/dirblob"
	"github.com/fleetwright/fleetwright/blob/storeblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// spoken runs one command whose only node writes the text to stdout, in the given parts, and returns its id and the record of the stream.
func spoken(w *world, parts ...string) (id string, key []byte) {
	node := w.nodes[0].ID
	w.answers[""] = func(w *world, node string, kind message.Kind, body []byte) {
		switch kind {
		case message.KindOffer:
			w.say(node, message.KindReady, message.Ready{Ref: ref[message.Offer](w, kind, body).Ref})
		case message.KindRun:
			r := ref[message.Run](w, kind, body)
			at := 0
			for _, part := range parts {
				w.say(node, message.KindOutput, message.Output{Ref: r.Ref, Offset: int64(at), Data: []byte(part)})
				at += len(part)
			}
			w.say(node, message.KindReport, message.Report{Ref: r.Ref, Seq: 1, Detail: message.DetailSuccess,
				Steps: []message.StepReport{{Name: "greet", Status: message.Success, Stdout: message.Stream{Head: parts[0][:10], Size: int64(at), InPieces: true}}}})
		}
	}
	c, err := w.s.Send(w.t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{node}})
	require.NoError(w.t, err)
	_, err = w.s.Wait(w.t.Context(), c.ID)
	require.NoError(w.t, err)
	return c.ID, streamsKey("default", c.ID).Str(node).Str(message.StreamID(0, false))
}

// hear reads the stdout of the node.
func hear(w *world, id string) (string, error) {
	r, _, err := w.s.Output(w.t.Context(), id, w.nodes[0].ID, "greet", false)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func streamOf(w *world, key []byte, change func(st *stream) bool) (st stream) {
	require.NoError(w.t, w.store.Update(w.t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		if st, err = w.s.streams.Get(ctx, tx, key); err == nil && change != nil && change(&st) {
			err = w.s.streams.Put(tx, key, st)
		}
		return err
	}))
	return st
}

func text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d\n", b.Len())
	}
	return b.String()[:n]
}

// F6, R-26: whatever bit of a piece of stored output is flipped, wherever it ends, and when it is missing or another's: what comes before it is read, then the error names it.
func TestDamagedOutputIsNamedAndNotServed(t *testing.T) {
	all := text(2*message.MaxPiece + 5000)
	parts := []string{all[:message.MaxPiece], all[message.MaxPiece : 2*message.MaxPiece], all[2*message.MaxPiece : 2*message.MaxPiece+300], all[2*message.MaxPiece+300:]}
	n := 60
	if testenv.Long() {
		n = testenv.Count(t, "FLEETWRIGHT_BLOB_FLIPS", 3000)
	}
	for name, open := range map[string]func(t *testing.T, dir string) blob.Store{
		"files": func(t *testing.T, dir string) blob.Store {
			s, err := dirblob.Open(dir, &dirblob.Options{NoSync: true})
			require.NoError(t, err)
			return s
		},
		"store": func(*testing.T, string) blob.Store { return storeblob.New(memstore.New(), nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				blobs := open(t, filepath.Join(dir, "b"))
				w := newWorld(t, 1, func(c *Config) { c.Blobs = blobs })
				defer w.serve()()
				id, key := spoken(w, parts...)
				got, err := hear(w, id)
				require.NoError(t, err)
				require.True(t, got == all)
				st := streamOf(w, key, nil)
				require.Equal(t, []int64{0, message.MaxPiece, 2 * message.MaxPiece}, st.Pieces)
				payload, err := json.Marshal(st)
				require.NoError(t, err)
				pieces, err := OutputPieces("default", id, w.nodes[0].ID, message.StreamID(0, false), payload)
				require.NoError(t, err)
				wrong, tried := 0, 0
				try := func(p Piece, what string) {
					tried++
					got, err := hear(w, id)
					where := fmt.Sprintf("command %s, node %s, step greet, stdout, offset %d to %d", id, w.nodes[0].ID, p.Offset, p.Offset+p.Size)
					if fault.CodeOf(err) != fault.DataCorrupt || got != all[:p.Offset] || !strings.Contains(err.Error(), where) {
						wrong++
						t.Errorf("%s of %s: %d bytes, %v", what, p.String(), len(got), err)
					}
				}
				put := func(p Piece, b []byte) {
					_, err := blobs.Put(t.Context(), p.Blob, bytes.NewReader(b))
					require.NoError(t, err)
				}
				for i, p := range pieces {
					require.True(t, p.Checked())
					good, err := p.Read(t.Context(), blobs)
					require.NoError(t, err)
					for j := range n / len(pieces) {
						b, bit := bytes.Clone(good), 7919*(j+1)%(8*len(good))
						if j == 0 {
							bit = 8*len(good) - 1
						}
						b[bit/8] ^= 1 << (bit % 8)
						put(p, b)
						try(p, fmt.Sprint("bit ", bit))
						cut := 5003 * j % len(good)
						put(p, good[:cut])
						try(p, fmt.Sprint("a cut at ", cut))
					}
					put(p, append(bytes.Clone(good), 0))
					try(p, "a byte more")
					put(p, make([]byte, len(good)))
					try(p, "zeros")
					other, err := pieces[(i+1)%2].Read(t.Context(), blobs)
					require.NoError(t, err)
					if p.Offset != pieces[(i+1)%2].Offset {
						put(p, other)
						try(p, "another's bytes")
					}
					require.NoError(t, blobs.Delete(t.Context(), p.Blob))
					try(p, "nothing")
					put(p, good)
					got, err := hear(w, id)
					require.NoError(t, err)
					require.True(t, got == all)
				}
				testenv.Figure(t, "bits flipped and bytes cut off in stored output, kept in "+name, tried, wrong)
			})
		})
	}
}

// The file itself, as a disk would damage it.
func TestADamagedFileOfOutputIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	synctest.Test(t, func(t *testing.T) {
		blobs, err := dirblob.Open(dir, &dirblob.Options{NoSync: true})
		require.NoError(t, err)
		w := newWorld(t, 1, func(c *Config) { c.Blobs = blobs })
		defer w.serve()()
		id, _ := spoken(w, text(3000))
		files := 0
		require.NoError(t, filepath.Walk(dir, func(path string, i os.FileInfo, err error) error {
			if err != nil || !i.Mode().IsRegular() {
				return err
			}
			files++
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{'L'}, 9)
			return errors.Join(err, f.Close())
		}))
		require.Equal(t, 1, files)
		got, err := hear(w, id)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
		require.Empty(t, got)
	})
}

// What a release without checksums stored is read, gets checksums where it grows, and a piece of it that has lost bytes is still named.
func TestOutputOfAnOlderReleaseIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, nil)
		defer w.serve()()
		all := text(message.MaxPiece + 2000)
		id, key := spoken(w, all[:message.MaxPiece], all[message.MaxPiece:message.MaxPiece+500])
		st := streamOf(w, key, func(st *stream) bool { st.Sums = nil; return true })
		got, err := hear(w, id)
		require.NoError(t, err)
		require.True(t, got == all[:message.MaxPiece+500])
		w.say(w.nodes[0].ID, message.KindOutput, message.Output{Ref: message.Ref{Command: id, Attempt: 1}, Offset: st.End, Data: []byte(all[st.End:])})
		got, err = hear(w, id)
		require.NoError(t, err)
		require.True(t, got == all)
		st = streamOf(w, key, nil)
		first, last := st.piece("default", id, w.nodes[0].ID, "0o", 0), st.piece("default", id, w.nodes[0].ID, "0o", 1)
		require.False(t, first.Checked())
		require.True(t, last.Checked())
		_, err = w.s.cfg.Blobs.Put(t.Context(), first.Blob, strings.NewReader(all[:100]))
		require.NoError(t, err)
		got, err = hear(w, id)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
		require.Empty(t, got)
	})
}

// A stream whose last piece is damaged goes on: the damage is not copied into a piece with a good checksum, and the node is not made to send for ever.
func TestOutputGoesOnBehindDamage(t *testing.T) {
	for what, damage := range map[string]func(w *world, p Piece) error{
		"flipped": func(w *world, p Piece) error {
			_, err := w.s.cfg.Blobs.Put(t.Context(), p.Blob, strings.NewReader(strings.Repeat("x", int(p.Size))))
			return err
		},
		"missing": func(w *world, p Piece) error { return w.s.cfg.Blobs.Delete(t.Context(), p.Blob) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, nil)
				defer w.serve()()
				all := text(4000)
				id, key := spoken(w, all[:1000])
				st := streamOf(w, key, nil)
				require.NoError(t, damage(w, st.piece("default", id, w.nodes[0].ID, "0o", 0)))
				for at := 1000; at < 4000; at += 1000 {
					w.say(w.nodes[0].ID, message.KindOutput, message.Output{Ref: message.Ref{Command: id, Attempt: 1}, Offset: int64(at), Data: []byte(all[at : at+1000])})
				}
				st = streamOf(w, key, nil)
				require.Equal(t, []int64{0, 1000}, st.Pieces)
				require.Equal(t, int64(4000), st.End)
				last := st.piece("default", id, w.nodes[0].ID, "0o", 1)
				b, err := last.Read(t.Context(), w.s.cfg.Blobs)
				require.NoError(t, err)
				require.Equal(t, all[1000:], string(b))
				got, err := hear(w, id)
				require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
				require.Empty(t, got)
			})
		})
	}
}

// The largest record of a stream fits into the store, and its numbers are checked.
func TestAStreamsRecordIsBounded(t *testing.T) {
	var st stream
	for i := range maxPieces {
		st.Pieces = append(st.Pieces, 1e9+int64(i)*smallPiece)
	}
	st.Pieces[0] = 0
	st.Sums, st.End = make([]byte, sumSize*maxPieces), 1e9+maxPieces*smallPiece
	b, err := json.Marshal(st)
	require.NoError(t, err)
	require.Less(t, len(b), store.MaxValue-1000)
	require.GreaterOrEqual(t, maxPieces*smallPiece, 1<<30)
	for name, bad := range map[string]stream{
		"checksums of other pieces": {Pieces: []int64{0, 5}, Sums: make([]byte, sumSize), End: 7},
		"a gap":                     {Pieces: []int64{1}, End: 7},
		"no order":                  {Pieces: []int64{0, 9}, End: 7},
	} {
		b, err := json.Marshal(bad)
		require.NoError(t, err)
		_, err = OutputPieces("default", "c", "n", "0o", b)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), name)
	}
}
