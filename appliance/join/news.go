package join

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// followHold is how long a manager holds the question of a node that knows all
// there is to know.
const followHold = 25 * time.Second

// ack is what a node said last of what it knows.
type ack struct {
	version string
	at      time.Time
}

// membership is what all nodes are to know, without what differs from node to
// node or from minute to minute.
func (s *Server) membership() Membership {
	m := Membership{
		Cluster:    s.CA.Hash().ClusterID(),
		Managers:   s.Managers(),
		GossipKeys: s.Keys.All(),
		Removed:    s.Members.Removed(),
	}
	if s.Nodes != nil {
		m.Nodes = s.Nodes()
	}
	return m
}

// version tells one state of the cluster from another.
func (m Membership) version() (string, error) {
	keys := make([][]byte, len(m.GossipKeys))
	for i, k := range m.GossipKeys {
		keys[i] = k
	}
	data, err := json.Marshal(struct {
		Managers []netip.AddrPort
		Nodes    []netip.Addr
		Keys     [][]byte
		Removed  []string
	}{m.Managers, m.Nodes, keys, m.Removed})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// Refresh looks again at what is told to nodes, and tells them what is new.
func (s *Server) Refresh() error { return s.publish() }

// publish takes what is new into use here, and then lets the nodes that wait
// for news have it.
func (s *Server) publish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.membership()
	version, err := m.version()
	if err != nil {
		return fmt.Errorf("tell nodes what is new: %w", err)
	}
	if err := s.Identity.adopt(m); err != nil {
		return fmt.Errorf("tell nodes what is new: %w", err)
	}
	s.Changed(s.Identity.Membership())
	s.version = version
	close(s.news)
	s.news = make(chan struct{})
	return nil
}

// follow answers a node when there is something that it does not know yet, or
// after followHold.
func (s *Server) follow(r *http.Request, body []byte) (any, error) {
	req, err := decodeRequest[followRequest](body)
	if err != nil {
		return nil, err
	}
	peer, ok := PeerFrom(r.Context())
	if !ok || len(req.Swarm) > maxNodeName || hasOdd(req.Swarm) {
		return nil, ErrBadRequest
	}
	if s.asks.Wait(r.Context(), peer.ID) != nil {
		return nil, ErrTooOften
	}
	if err := s.Members.joinedSwarm(peer.ID, req.Swarm); err != nil {
		return nil, err
	}
	held := time.NewTimer(followHold)
	defer held.Stop()
	for {
		version, news := s.state(peer.ID, req.Have)
		switch {
		case s.Members.removed(peer.ID):
			return nil, ErrRemoved
		case version != req.Have:
			m := s.membership()
			m.Seeds = s.Seeds()
			return &followAnswer{Membership: m, News: version, Time: time.Now()}, nil
		}
		select {
		case <-news:
		case <-held.C:
			return &followAnswer{Time: time.Now()}, nil
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// state notes what a node knows, and returns what there is to know and what is
// closed when that changes.
func (s *Server) state(id, have string) (version string, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[id] = ack{version: have, at: time.Now()}
	select {
	case s.heard <- struct{}{}:
	default: // one token is enough
	}
	return s.version, s.news
}

// behind returns the nodes in touch that do not know yet what is new. One is in
// touch that asked within the time in which it must ask again.
func (s *Server) behind() []string {
	removed := s.Members.Removed()
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, k := range s.known {
		switch {
		case time.Since(k.at) > followHold+requestTimeout, slices.Contains(removed, id):
			delete(s.known, id)
		case k.version != s.version:
			ids = append(ids, id)
		}
	}
	return ids
}
