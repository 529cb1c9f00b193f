package blob

import (
	"context"
	"time"
)

// Walker is an optional ability: a driver that can list its blobs, for those who look for what nobody names any more.
type Walker interface {
	// Walk calls fn for every blob, in no promised order; what is put or deleted meanwhile may be among them or not. An error of fn ends it and is returned.
	Walk(ctx context.Context, fn func(key string, size int64, modified time.Time) error) error
}

// Keeper is an optional ability: a driver that keeps its blobs in records of a store, for those who copy the store and the blobs and want neither twice.
type Keeper interface {
	// Keeps reports whether the record of the store with this key is part of how the driver keeps its blobs. For the one record of a blob that is there as long as the blob is, name is the
	// blob's key; for others it is "". It looks at the key only.
	Keeps(record []byte) (name string, ok bool)
}
