package admission

import "sync"

// Memory is the memory that all clients share for what waits: large requests,
// transactions, replies that nobody reads. Where it is used up, the client that
// holds most is cut off, as Redis does, so that none can keep others out.
type Memory struct {
	most int64 // bytes; 0: no bound

	mu      sync.Mutex
	used    int64
	clients map[*Share]struct{}
}

// Share counts what one client has of the memory.
type Share struct {
	of     *Memory
	cutOff func()

	// Guarded by of.mu.
	used int64
	gone bool
}

func NewMemory(most int64) *Memory {
	return &Memory{most: most, clients: map[*Share]struct{}{}}
}

// Enter returns the share of a new client; cutOff ends its connection and waits
// for nothing.
func (r *Memory) Enter(cutOff func()) *Share {
	s := &Share{of: r, cutOff: cutOff}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[s] = struct{}{}
	return s
}

// Take takes n bytes. It reports false when the client is cut off, when it holds most,
// or when it would hold more than half of it while others need it.
func (s *Share) Take(n int) bool {
	r := s.of
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.most > 0 && r.used+int64(n) > r.most && !s.gone {
		largest := s
		for other := range r.clients {
			if other.used > largest.used {
				largest = other
			}
		}
		if largest == s || s.used+int64(n) > r.most/2 {
			return false
		}
		largest.release()
		largest.cutOff()
	}
	if s.gone {
		return false
	}
	s.used += int64(n)
	r.used += int64(n)
	return true
}

// Give gives n bytes back.
func (s *Share) Give(n int) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if !s.gone {
		s.used -= int64(n)
		s.of.used -= int64(n)
	}
}

// Leave gives everything back for good.
func (s *Share) Leave() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.release()
}

// release is Leave; of.mu is held.
func (s *Share) release() {
	if !s.gone {
		s.gone = true
		s.of.used -= s.used
		delete(s.of.clients, s)
	}
}

// Most returns how many bytes they may hold; 0: no bound.
func (r *Memory) Most() int64 { return r.most }

// Held returns how many bytes all clients hold.
func (r *Memory) Held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}
