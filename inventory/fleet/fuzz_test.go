package fleet

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"
)

// What is stored in binary form is read back as it was; bytes of anything else are refused or make sense, and never panic.
func FuzzStored(f *testing.F) {
	f.Add([]byte("Name"), []byte("bash"), []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{}, []byte{0, 0xff}, lists{del: []uint32{1, 70000}, add: []uint32{3}}.encode())
	f.Add([]byte("V"), []byte(""), canonical(map[string]string{"Name": "x", "Version": ""}))
	f.Fuzz(func(t *testing.T, name, value, raw []byte) {
		entry := map[string]string{string(name): string(value), "Other": ""}
		got, ok := attributes(string(canonical(entry)))
		require.True(t, ok)
		require.Equal(t, entry, map[string]string(got))
		if a, ok := attributes(string(raw)); ok { // whatever it was, it stands for these attributes
			again, ok := attributes(string(canonical(a)))
			require.True(t, ok)
			require.Equal(t, a, again)
		}

		var ids []uint32
		for b := raw; len(b) >= 4; b = b[4:] {
			ids = append(ids, binary.BigEndian.Uint32(b))
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		half := len(ids) / 2
		d, rest, ok := decodeLists(lists{del: ids[:half], add: ids[half:]}.encode())
		require.True(t, ok)
		require.Empty(t, rest)
		require.True(t, slices.Equal(ids[:half], d.del) && slices.Equal(ids[half:], d.add))
		if d, rest, ok := decodeLists(raw); ok {
			again, _, ok := decodeLists(append(d.encode(), rest...))
			require.True(t, ok)
			require.True(t, slices.Equal(d.del, again.del) && slices.Equal(d.add, again.add))
			require.True(t, slices.IsSorted(d.del) && slices.IsSorted(d.add))
		}

		body, err := encodeBits(roaring.BitmapOf(ids...))
		require.NoError(t, err)
		b, err := decodeBits(nil, body)
		require.NoError(t, err)
		require.True(t, slices.Equal(ids, b.ToArray()))
		if b, err := decodeBits(nil, raw); err == nil {
			b.ToArray()
		}
	})
}
