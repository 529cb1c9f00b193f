package pgstore

// Wrong returns options for a store that is deliberately wrong.
func Wrong(begin string, noRerun, lockLast bool) *Options {
	return &Options{wrong: wrong{begin, noRerun, lockLast}}
}
