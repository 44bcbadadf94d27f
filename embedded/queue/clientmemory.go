package queue

import "sync"

// clientMemory is the memory that all clients share for what waits: large requests,
// transactions, replies that nobody reads. Where it is used up, the client that
// holds most is cut off, as Redis does, so that none can keep others out.
type clientMemory struct {
	most int64 // bytes; 0: no bound

	mu      sync.Mutex
	used    int64
	clients map[*share]struct{}
}

// share counts what one client has of the memory.
type share struct {
	of     *clientMemory
	cutOff func()

	// Guarded by of.mu.
	used int64
	gone bool
}

func newClientMemory(most int64) *clientMemory {
	return &clientMemory{most: most, clients: map[*share]struct{}{}}
}

// enter returns the share of a new client; cutOff ends its connection and waits
// for nothing.
func (r *clientMemory) enter(cutOff func()) *share {
	s := &share{of: r, cutOff: cutOff}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[s] = struct{}{}
	return s
}

// take takes n bytes. It reports false when the client is cut off, when it holds most,
// or when it would hold more than half of it while others need it.
func (s *share) take(n int) bool {
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

// give gives n bytes back.
func (s *share) give(n int) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if !s.gone {
		s.used -= int64(n)
		s.of.used -= int64(n)
	}
}

// leave gives everything back for good.
func (s *share) leave() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.release()
}

// release is leave; of.mu is held.
func (s *share) release() {
	if !s.gone {
		s.gone = true
		s.of.used -= s.used
		delete(s.of.clients, s)
	}
}

// held returns how many bytes all clients hold.
func (r *clientMemory) held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}
