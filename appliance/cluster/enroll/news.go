package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

// followHold is how long a manager holds the question of a node that knows all
// there is to know.
const followHold = 25 * time.Second

// claimHold is how long it holds it where Swarm does not bear out yet what the node
// says that it is there.
const claimHold = 3 * time.Second

// ack holds what a node last said it knows.
type ack struct {
	version string
	at      time.Time
}

// membership returns what all nodes should know, without what differs from node to
// node or from minute to minute.
func (s *Server) membership() pki.Membership {
	signed, accepted := s.Members.Epochs()
	m := pki.Membership{
		Cluster:    s.CA.Hash().ClusterID(),
		Managers:   s.Managers(),
		GossipKeys: s.Keys.All(),
		Removed:    s.Members.Removed(),
		ManagerIDs: s.managerIDs.Load().([]string),
		Epoch:      accepted,
		Renew:      signed,
		Restored:   s.Restored,
	}
	if s.Nodes != nil {
		m.Nodes = s.Nodes()
	}
	if s.Full != nil {
		m.Full = s.Full()
	}
	if s.Queue != nil {
		m.Queue = s.Queue()
	}
	return m
}

// versionOf tells one state of the cluster from another.
func versionOf(m pki.Membership) (string, error) {
	keys := make([][]byte, len(m.GossipKeys))
	for i, k := range m.GossipKeys {
		keys[i] = k
	}
	data, err := json.Marshal(struct {
		Managers []netip.AddrPort
		Full     []netip.AddrPort
		Nodes    []netip.Addr
		Keys     [][]byte
		Removed  []string
		IDs      []string
		Epochs   [2]int
		Queue    []byte `json:",omitempty"`
	}{m.Managers, m.Full, m.Nodes, keys, m.Removed, m.ManagerIDs, [2]int{m.Epoch, m.Renew}, m.Queue})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// Refresh looks again at what is told to nodes, and tells them what is new.
func (s *Server) Refresh() error { return s.publish() }

// publish takes what is new into use here, and then lets the nodes that wait
// for news have it. A list that is too long to be told is not: see boundRemovedList.
func (s *Server) publish() error {
	if len(s.Members.Removed()) > maxList {
		return s.boundRemovedList()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.membership()
	version, err := versionOf(m)
	if err != nil {
		return fmt.Errorf("tell nodes what is new: %w", err)
	}
	if err := s.Identity.Adopt(m); err != nil {
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
	if !ok || !validSwarmID(req.Swarm) {
		return nil, ErrBadRequest
	}
	if err := s.known(r, peer.ID); err != nil {
		return nil, err
	}
	if s.asks.Wait(r.Context(), peer.ID) != nil {
		return nil, ErrTooOften
	}
	if err := s.claim(r.Context(), peer.ID, remoteAddrPort(r), req.Swarm); err != nil {
		return nil, err
	}
	hold := followHold
	if req.Swarm != "" && !s.Members.IsBound(peer.ID, req.Swarm) {
		hold = claimHold
	}
	held := time.NewTimer(hold)
	defer held.Stop()
	for {
		version, news := s.state(peer.ID, req.Have)
		switch {
		case s.Members.WasRemoved(peer.ID):
			return nil, pki.ErrRemoved
		case version != req.Have:
			a := &followAnswer{Membership: s.membership(), News: version, Time: time.Now()}
			a.Seeds, a.Bound = s.Seeds(), s.Members.IsBound(peer.ID, req.Swarm)
			if now, err := s.rights(r.Context(), peer.ID); err == nil {
				a.Role = now.role
			}
			return a, nil
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
	if have == "" { // asks, and says nothing of what it knows
		have = s.acks[id].version
	}
	s.acks[id] = ack{version: have, at: time.Now()}
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
	for id, k := range s.acks {
		switch {
		case time.Since(k.at) > followHold+requestTimeout, slices.Contains(removed, id):
			delete(s.acks, id)
		case k.version != s.version:
			ids = append(ids, id)
		}
	}
	return ids
}
