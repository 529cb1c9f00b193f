package dirblob_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPut64K compares with the least that a durable replacement costs: write, fsync, rename, fsync of the directory.
func BenchmarkPut64K(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	raw, s := b.TempDir(), open(b, filepath.Join(b.TempDir(), "blobs"), nil)
	var ours, limit time.Duration
	for i := 0; b.Loop(); i++ {
		name := strconv.Itoa(i % 100)
		start := time.Now()
		_, err := s.Put(b.Context(), "default/command/"+name+"/0/stdout", bytes.NewReader(data))
		require.NoError(b, err)
		ours += time.Since(start)

		start = time.Now()
		f, err := os.OpenFile(filepath.Join(raw, "tmp"), os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(b, err)
		_, err = f.Write(data)
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		require.NoError(b, f.Close())
		require.NoError(b, os.Rename(filepath.Join(raw, "tmp"), filepath.Join(raw, name)))
		d, err := os.Open(raw)
		require.NoError(b, err)
		require.NoError(b, d.Sync())
		require.NoError(b, d.Close())
		limit += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
}

// BenchmarkRead64K compares with opening and reading the file by its path.
func BenchmarkRead64K(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "blobs")
	s := open(b, dir, nil)
	_, err := s.Put(b.Context(), "default/command/c/0/stdout", bytes.NewReader(make([]byte, 64<<10)))
	require.NoError(b, err)
	path := filepath.Join(dir, "default", "command", "c", "0", "stdout=")
	var ours, limit time.Duration
	for b.Loop() {
		start := time.Now()
		r, err := s.Open(b.Context(), "default/command/c/0/stdout")
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, r)
		require.NoError(b, err)
		require.NoError(b, r.Close())
		ours += time.Since(start)

		start = time.Now()
		f, err := os.Open(path)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, f)
		require.NoError(b, err)
		require.NoError(b, f.Close())
		limit += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
}
