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
