package node

import "github.com/crawlbox/crawlbox/appliance/api"

// traffic is what this node's mirror has moved.
func (w *Worker) traffic() api.Traffic {
	s := w.mirror.Stats()
	return api.Traffic{
		FromManager: s.FromManager + s.Pieces.FromTrackers, FromNodes: s.FromNodes + s.Pieces.FromPeers, FromCache: s.FromCache,
		Sent: s.Pieces.Sent, BadPieces: s.Pieces.BadPieces, Retries: s.Pieces.Retries,
	}
}

// traffic is what the manager has sent in pieces. It gets images by pushes only.
func (m *Manager) traffic() api.Traffic { return api.Traffic{Sent: m.pieces.Stats().Sent} }
