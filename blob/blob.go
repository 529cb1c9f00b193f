// Package blob is the seam for large bytes that do not belong in transactions: command output, packages, logs.
//
//	n, err := blobs.Put(ctx, "default/command/"+id+"/0/stdout", r)
//	r, err := blob.OpenAt(ctx, blobs, "default/command/"+id+"/0/stdout", 4096)
//	err := blobs.Delete(ctx, "default/command/"+id) // all of it
//
// blob/dirblob is the driver that keeps blobs as files, blob/memblob the one in memory; blob/blobtest holds the suite that every driver passes. The
// names in brackets below are the suite's cases.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fleetwright/fleetwright/fault"
)

// The limits of keys.
const (
	// MaxKey is the longest key in bytes.
	MaxKey = 512
	// MaxSegment is the longest segment of a key in bytes.
	MaxSegment = 128
)

var (
	// ErrNotFound: there is no such blob.
	ErrNotFound = errors.New("blob: not found")
	// ErrBadKey: the key is not one or more segments of [A-Za-z0-9_.-]{1,128}, none "." or "..", joined by "/", at most MaxKey bytes in all.
	ErrBadKey = errors.New("blob: bad key")
)

// Store holds blobs. All methods are safe for concurrent use (B-RACE). Every method answers ErrBadKey for a bad key and touches nothing (B-KEY), and ctx's error once ctx has
// ended (B-CANCEL). A key and one that continues it are different blobs that may both exist (B-TREE), and so are keys that differ in case only (B-CASE). Blobs may be empty,
// and of any size that the driver has room for (B-SIZE). There is no Close: who opens, closes.
type Store interface {
	// Put stores what r yields until io.EOF under key, replacing what was there (B-PUT), all or nothing: a reader sees the old bytes or the new ones, also one that opened before
	// (B-WHOLE); when r fails or ctx ends, nothing changed and the error wraps r's or ctx's (B-ABORT). After Put returned nil the new bytes are durable (B-DURABLE, not
	// checked by the suite). It returns the number of bytes. It does not keep r's buffers (B-ALIAS), nor hold up other calls while r blocks (B-STALL).
	Put(ctx context.Context, key string, r io.Reader) (int64, error)
	// Open returns the blob for reading from the beginning, or ErrNotFound (B-MISSING). The caller closes it. Readers are independent of each other (B-READERS) and keep reading
	// the same bytes when the blob is replaced or deleted.
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	// Delete removes the blob and every blob whose key continues key with "/", and no other (B-DELETE). Missing ones are no error.
	Delete(ctx context.Context, key string) error
}

// CheckKey returns nil for a valid key, else an error that is ErrBadKey (ValidationException). Drivers call it first in every method.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return badKey(key, "it is not 1 to %d bytes long", MaxKey)
	}
	begin := 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if c := key[i]; ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '_' && c != '.' && c != '-' {
				return badKey(key, "it has characters outside of [A-Za-z0-9_.-]")
			}
			continue
		}
		switch s := key[begin:i]; {
		case s == "":
			return badKey(key, "it has an empty segment")
		case s == "." || s == "..":
			return badKey(key, `it has a segment "." or ".."`)
		case len(s) > MaxSegment:
			return badKey(key, "a segment is longer than %d bytes", MaxSegment)
		}
		begin = i + 1
	}
	return nil
}

func badKey(key, format string, args ...any) error {
	if len(key) > 80 {
		key = key[:80] + "…"
	}
	return fault.New("blob.CheckKey", fault.Validation, `%w "%s": `+format, append([]any{ErrBadKey, fault.Clean(key)}, args...)...)
}

// OpenAt opens the blob for reading from the offset on; at or beyond the end there is nothing to read. It seeks where the driver's readers can, else it reads and drops the beginning.
func OpenAt(ctx context.Context, s Store, key string, offset int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fault.New("blob.OpenAt", fault.Validation, "the offset %d is negative", offset)
	}
	r, err := s.Open(ctx, key)
	if err != nil || offset == 0 {
		return r, err
	}
	if sk, ok := r.(io.Seeker); ok {
		_, err = sk.Seek(offset, io.SeekStart)
	} else if _, err = io.CopyN(io.Discard, r, offset); errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob: reading from offset %d of %s: %w", offset, key, err), r.Close())
	}
	return r, nil
}
