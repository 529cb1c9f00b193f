package boltstore

import bolt "go.etcd.io/bbolt"

// NoSync plants a bug: commits are not made durable.
func NoSync(o *Options) {
	o.failNext = func(tx *bolt.Tx) error {
		tx.DB().NoSync = true
		return commit(tx)
	}
}
