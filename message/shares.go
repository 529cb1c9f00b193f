package message

import "sync"

// shares remembers X25519 results by the other side's public key, at most 2*limit of them: when the young generation is full it becomes the old one
// and the old one is forgotten, so that what is used stays. The zero limit remembers nothing.
type shares struct {
	limit      int
	mu         sync.Mutex
	young, old map[[32]byte][32]byte
}

func (s *shares) get(key [32]byte) ([32]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z, ok := s.young[key]; ok {
		return z, true
	}
	z, ok := s.old[key]
	if ok {
		s.put(key, z)
	}
	return z, ok
}

func (s *shares) add(key, z [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, z)
}

func (s *shares) put(key, z [32]byte) {
	if s.limit == 0 {
		return
	}
	if len(s.young) >= s.limit {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[[32]byte][32]byte)
	}
	s.young[key] = z
}

func (s *shares) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.young) + len(s.old)
}
