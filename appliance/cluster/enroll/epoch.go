package enroll

import (
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

const (
	// epochListSize is how many removed nodes are listed before the next epoch of
	// certificates begins, and maxList how many are before it ends the old one without
	// waiting for nodes that are late. 4,000 are 116 KiB of an answer's 256.
	epochListSize = 1000
	maxList       = 4000
)

// boundRemovedList keeps the list of removed nodes from growing: it has the nodes get
// certificates of the next epoch, and when all in touch have, the others are of no use.
func (s *Server) boundRemovedList() error {
	listed := len(s.Members.Removed())
	signed, accepted := s.Members.Epochs()
	switch {
	case listed <= epochListSize && signed == accepted:
		return nil
	case signed == accepted:
		if err := s.beginEpoch(); err != nil {
			return err
		}
		if listed <= maxList {
			return s.publish()
		}
	case listed <= maxList && !s.renewed(signed):
		return nil
	}
	return s.publishEpoch()
}

// beginEpoch has this manager's own certificate be one of the next epoch before any node
// may refuse the others.
func (s *Server) beginEpoch() error {
	if err := s.Members.NextEpoch(); err != nil {
		return err
	}
	return s.keepEpoch()
}

// keepEpoch has this manager's certificate be of the epoch that is signed now.
func (s *Server) keepEpoch() error {
	signed, _ := s.Members.Epochs()
	if pki.EpochOf(s.Identity.Certificate().Leaf) >= signed {
		return nil
	}
	if err := s.Identity.Adopt(s.membership()); err != nil || s.Joined {
		return err // and Adopt has the certificate be renewed as those of others are
	}
	return s.CA.Reissue(s.Identity)
}

func (s *Server) publishEpoch() error {
	if err := s.Members.AcceptEpoch(); err != nil {
		return err
	}
	s.Audit("epoch")
	return s.publish()
}

// renewed reports whether all nodes in touch have certificates of an epoch.
func (s *Server) renewed(epoch int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range s.acks {
		m, ok := s.Members.Get(id)
		if ok && m.Epoch < epoch && time.Since(k.at) < followHold+requestTimeout {
			return false
		}
	}
	return !time.Now().Before(s.gathered)
}
