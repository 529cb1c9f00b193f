package pgstore

// Wrong returns options for a store that is deliberately wrong.
func Wrong(begin string, noRerun, lockLast bool) *Options {
	return &Options{wrong: wrong{begin, noRerun, lockLast}}
}

// LockKey returns the key of the advisory lock of the store.
func LockKey(s *Store) int64 { return s.sql.lock }
