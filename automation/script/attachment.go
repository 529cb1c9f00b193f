package script

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"path"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// What an attachment may hold. A zip that says less than it has is ended where it has more.
const (
	mostFiles = 5000
	mostBytes = 128 << 20
)

// attach adds the files of an attachment: those of a zip, or the one that it is.
func (o *Options) attach(ctx context.Context, c automation.Call, name string, j *Job) error {
	if o.Attachments == nil {
		return failure(automation.PreVerification, automation.InternalFailure, "this control plane has no attachments: its host was not given a way to find them")
	}
	b, err := o.Attachments.Attachment(ctx, c, name)
	if err != nil {
		return failure(automation.PreVerification, automation.ActionFailure, "the attachment %s cannot be had: %s", fault.Clean(clip(name, 100)), fault.MessageOf(err))
	}
	if strings.HasSuffix(strings.ToLower(name), ".zip") || bytes.HasPrefix(b, []byte("PK\x03\x04")) {
		j.Files, err = unzip(b)
	} else {
		base := path.Base(strings.ReplaceAll(name, `\`, "/"))
		if !plainPath(base) {
			base = "attachment"
		}
		j.Files = []File{{base, b}}
	}
	if err != nil {
		return failure(automation.PreVerification, automation.ActionFailure, "the attachment %s: %s", fault.Clean(clip(name, 100)), err)
	}
	return nil
}

// unzip reads a zip whole. Names that lead out of it, links and devices are refused.
func unzip(b []byte) ([]File, error) {
	bad := func(format string, a ...any) ([]File, error) {
		return nil, fault.New("script.Unzip", fault.Validation, format, a...)
	}
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return bad("it is no zip file")
	}
	if len(r.File) > mostFiles {
		return bad("it has %d files, at most %d are allowed", len(r.File), mostFiles)
	}
	var out []File
	seen, left := map[string]bool{}, int64(mostBytes)
	for _, f := range r.File {
		name := strings.ReplaceAll(f.Name, `\`, "/")
		if strings.HasSuffix(name, "/") && f.UncompressedSize64 == 0 {
			continue
		}
		name = path.Clean(name)
		switch {
		case !plainPath(name):
			return bad("it has a file with a name that leads elsewhere")
		case f.Mode()&^0o777 != 0:
			return bad("it has something that is no file: %s", fault.Clean(clip(name, 100)))
		case seen[name]:
			return bad("it has the file %s twice", fault.Clean(clip(name, 100)))
		}
		seen[name] = true
		in, err := f.Open()
		if err != nil {
			return bad("its file %s cannot be read", fault.Clean(clip(name, 100)))
		}
		data, err := io.ReadAll(io.LimitReader(in, left+1))
		in.Close() //nolint:errcheck // a reader
		if err != nil {
			return bad("its file %s cannot be read", fault.Clean(clip(name, 100)))
		}
		if left -= int64(len(data)); left < 0 {
			return bad("it unpacks to more than %d bytes", int64(mostBytes))
		}
		out = append(out, File{name, data})
	}
	for name := range seen {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return bad("it has %s both as a file and as a folder", fault.Clean(clip(dir, 100)))
			}
		}
	}
	return out, nil
}

// plainPath reports whether a path stays below where it is put, on any system.
func plainPath(p string) bool {
	if p == "" || p == "." || len(p) > 1000 || strings.ContainsAny(p, "\x00\\:") || path.IsAbs(p) || path.Clean(p) != p {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." || part == "" || len(part) > 250 {
			return false
		}
	}
	return true
}
