package apt

import (
	"io"

	"github.com/fleetwright/fleetwright/patch/internal/packed"
)

// Extensions returns the file extensions of the compressions that Decompress takes, "" for plain text first. The slice is the caller's own.
func Extensions() []string { return []string{"", ".xz", ".zst", ".lz4", ".gz", ".bz2"} }

// Decompress returns r decompressed. The compression is told by the extension of name (.gz, .xz, .zst, .lz4, .bz2), and by the first
// bytes where name has none of these; anything else is taken as plain text. It never yields more than Limits.Total bytes and
// never keeps more than Limits.Window of history: a file that claims more is an error that names it. The caller closes the result,
// which does not close r. A file that ends early, or whose checksum is wrong, gives an error and not io.EOF.
func Decompress(name string, r io.Reader, lim *Limits) (io.ReadCloser, error) {
	l := lim.orDefault()
	return packed.Open("apt.Decompress", name, r, l.Total, l.Window)
}
