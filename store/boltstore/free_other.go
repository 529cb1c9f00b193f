//go:build !linux && !darwin && !freebsd

package boltstore

func diskFree(string) int64 { return -1 }
