package store

// Disk is an optional ability: a driver that knows the disk that its store lies on.
type Disk interface {
	// DiskFree returns how many bytes the store's file system has left, -1 if that cannot be known. It does not wait for the store.
	DiskFree() int64
	// Err returns why the store takes no writes at present, which is ErrReadOnly or ErrClosed; nil when it takes them. It does not wait for the store.
	Err() error
}

// DiskFree returns how many bytes s has left to grow into, -1 for a store that does not know.
func DiskFree(s Store) int64 {
	if d, ok := s.(Disk); ok {
		return d.DiskFree()
	}
	return -1
}

// Err returns why s takes no writes at present; nil when it takes them, and for a store that can only be asked by trying.
func Err(s Store) error {
	if d, ok := s.(Disk); ok {
		return d.Err()
	}
	return nil
}
