//go:build !linux

package boltstore_test

import "os"

func datasync(f *os.File) error { return f.Sync() }
