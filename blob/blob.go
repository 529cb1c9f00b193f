// Package blob is the seam for large bytes that do not belong in transactions: command output, packages, logs.
package blob

import (
	"context"
	"errors"
	"io"
)

// MaxKey is the longest key in bytes.
const MaxKey = 512

var (
	// ErrNotFound: there is no such blob.
	ErrNotFound = errors.New("blob: not found")
	// ErrBadKey: the key is not one or more segments of [A-Za-z0-9_.-]{1,128}, none "." or "..", joined by "/", at most MaxKey bytes in all.
	ErrBadKey = errors.New("blob: bad key")
)

// Store holds blobs. All methods are safe for concurrent use. There is no Close: who opens, closes.
type Store interface {
	// Put stores what r yields under key, replacing what was there, all or nothing: a reader sees the old bytes or the new ones, and after Put returned nil the new ones are
	// durable. It returns the number of bytes.
	Put(ctx context.Context, key string, r io.Reader) (int64, error)
	// Open returns the blob for reading from the beginning, or ErrNotFound. The caller closes it.
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	// Delete removes the blob and every blob whose key continues key with "/". Missing ones are no error.
	Delete(ctx context.Context, key string) error
}
