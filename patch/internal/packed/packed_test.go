package packed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/internal/packed"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// pack compresses b in every format that can be written here.
func pack(t testing.TB, b []byte) map[string][]byte {
	all := map[string][]byte{"": b}
	for ext, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		".gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		".zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) },
		".lz4": func(w io.Writer) (io.WriteCloser, error) {
			z := lz4.NewWriter(w)
			return z, z.Apply(lz4.BlockSizeOption(lz4.Block64Kb))
		},
		".xz": func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{BlockSize: int64(max(400, len(b)/4)), DictCap: 1 << 16}.NewWriter(w)
		},
	} {
		var out bytes.Buffer
		w, err := open(&out)
		require.NoError(t, err)
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		all[ext] = out.Bytes()
	}
	return all
}

func read(name string, b []byte, total, window int64) ([]byte, error) {
	r, err := packed.Open("op", name, bytes.NewReader(b), total, window)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func text() []byte {
	var b bytes.Buffer
	for i := range 24 {
		b.WriteString(strings.Repeat("line of metadata ", i%5+1) + string(rune('a'+i%26)) + "\n")
	}
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	plain := text()
	for ext, b := range pack(t, plain) {
		t.Run("as"+ext, func(t *testing.T) {
			for _, name := range []string{"Packages" + ext, "Packages"} { // by extension, and by the first bytes
				got, err := read(name, b, 1<<20, 1<<26)
				require.NoError(t, err)
				require.Equal(t, plain, got)
			}
			got, err := read("f"+ext, b, int64(len(plain)), 1<<26)
			require.NoError(t, err, "just the allowed size")
			require.Equal(t, plain, got)
			_, err = read("f"+ext, b, int64(len(plain))-1, 1<<26)
			require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err), "one byte more than allowed")
			if ext == "" {
				return
			}
			for n := 0; n < len(b); n += step() {
				got, err := read("f"+ext, b[:n], 1<<20, 1<<26)
				require.Error(t, err, "cut off after %d of %d", n, len(b))
				require.Contains(t, err.Error(), "f"+ext)
				require.NotEqual(t, plain, append(got, 0))
			}
			two := append(bytes.Clone(b), b...)
			if got, err := read("f"+ext, two, 1<<20, 1<<26); err == nil && ext != ".lz4" {
				require.Equal(t, append(bytes.Clone(plain), plain...), got, "two streams follow each other")
			}
		})
	}
	t.Run("as.bz2", func(t *testing.T) {
		b, err := base64.StdEncoding.DecodeString(bz2)
		require.NoError(t, err)
		got, err := read("Packages", b, 1<<20, 1<<26)
		require.NoError(t, err)
		require.Equal(t, "Package: a\nVersion: 1\n\n", string(got))
		for n := 0; n < len(b); n += step() {
			_, err := read("f.bz2", b[:n], 1<<20, 1<<26)
			require.Error(t, err)
		}
	})
	t.Run("an extension that lies", func(t *testing.T) {
		for _, ext := range []string{".gz", ".xz", ".zst", ".lz4", ".bz2"} {
			_, err := read("f"+ext, plain, 1<<20, 1<<26)
			require.Error(t, err, ext)
		}
	})
	t.Run("closed", func(t *testing.T) {
		r, err := packed.Open("op", "f.zst", bytes.NewReader(pack(t, plain)[".zst"]), 1<<20, 1<<26)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close())
		_, err = r.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

const bz2 = "QlpoOTFBWSZTWWJKnfgAAARbgAAQQAAgEEEAKqmYACAAIiNNMh5TBTAATRcuyMe7TUGB5aMyKsXckU4UJBiSp34A"

// A flipped bit is noticed by every format with a checksum: no other text comes out with a clean end.
func TestOpenNoticesDamage(t *testing.T) {
	plain := text()
	for ext, b := range pack(t, plain) {
		if ext == "" {
			continue
		}
		for i := 0; i < len(b); i += step() {
			for _, bit := range []byte{1 << (i % 8)} {
				c := bytes.Clone(b)
				c[i] ^= bit
				got, err := read("f"+ext, c, 1<<20, 1<<26)
				if err == nil {
					require.Equal(t, plain, got, "%s: byte %d of %d, bit %#x", ext, i, len(b), bit)
				}
			}
		}
	}
}

func TestOpenBoundsBombs(t *testing.T) {
	for ext, b := range pack(t, make([]byte, 300<<10)) {
		r, err := packed.Open("op", "f"+ext, bytes.NewReader(b), 1<<16, 1<<26)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, r)
		require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err), ext)
		require.LessOrEqual(t, n, int64(1<<16), ext)
		require.NoError(t, r.Close())
	}
	t.Run("a dictionary that is claimed only", func(t *testing.T) {
		b := pack(t, []byte("x"))[".xz"]
		// the first block header begins behind the stream header of 12 bytes; its filter has id 0x21, size 1 and the dictionary
		size := (int(b[12]) + 1) * 4
		header := b[12 : 12+size]
		i := bytes.Index(header, []byte{0x21, 1})
		require.Positive(t, i)
		for dict, ok := range map[byte]bool{22: true, 30: true, 31: false, 40: false} { // 8 MiB, 128 MiB, 192 MiB, 4 GiB
			header[i+2] = dict
			binary.LittleEndian.PutUint32(header[size-4:], crc32.ChecksumIEEE(header[:size-4]))
			_, err := read("f.xz", b, 1<<20, 128<<20)
			require.Equal(t, ok, err == nil, "%d: %v", dict, err)
		}
	})
	t.Run("a window of zstd", func(t *testing.T) {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, zstd.WithWindowSize(1<<20), zstd.WithSingleSegment(false))
		require.NoError(t, err)
		_, err = w.Write(bytes.Repeat([]byte("0123456789abcdef!"), 1<<17))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		_, err = read("f.zst", out.Bytes(), 1<<30, 1<<18)
		require.Error(t, err)
		_, err = read("f.zst", out.Bytes(), 1<<30, 1<<20)
		require.NoError(t, err)
	})
}

// step is how many bytes a test goes on: every byte, or with -short every eleventh.
func step() int {
	if testing.Short() {
		return 11
	}
	return 1
}
