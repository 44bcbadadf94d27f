package queue

import "time"

// Progress says how a server gets on. It is no secret and no data.
type Progress struct {
	Commands uint64        // done since the start
	Busy     time.Duration // how long the command under way has been running; 0 when none is
	Keys     int64
	Memory   int64 // bytes of data and clients
	Clients  int64
}

// Progress returns how the server gets on. It waits for nothing.
func (s *Server) Progress() Progress { return Progress{Clients: s.open.Load()} }
