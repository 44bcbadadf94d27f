package gossip

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// slow is a stream of a stranger who says nothing.
type slow struct {
	net.Conn
	ended chan struct{}
}

func openSlow(t *testing.T, from byte, to *host) slow {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 77, 0, from)}}
	conn, err := dialer.Dial("tcp", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := slow{conn, make(chan struct{})}
	go func() {
		defer close(s.ended)
		_, _ = conn.Read(make([]byte, 1))
	}()
	t.Cleanup(func() { conn.Close(); <-s.ended })
	return s
}

func (s slow) open() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// patient returns a node that waits long for what strangers say.
func patient(t *testing.T) *host {
	t.Helper()
	h := newHost(t, "manager")
	h.patience = time.Minute
	h.start()
	return h
}

// stay waits until just the streams of which want is true are open.
func stay(t *testing.T, streams []slow, want func(i int) bool) {
	t.Helper()
	waitFor(t, 20*time.Second, func() error {
		for i, s := range streams {
			if s.open() != want(i) {
				return fmt.Errorf("stream %d is open: %v", i, s.open())
			}
		}
		return nil
	})
}

func TestStreams_OneAddressKeepsItsNewest(t *testing.T) {
	t.Parallel()
	m := patient(t)
	var streams []slow
	for range 3 * maxStreams {
		streams = append(streams, openSlow(t, 1, m))
	}
	stay(t, streams, func(i int) bool { return i >= len(streams)-maxStreamsOfOne })
	m.sees(Alive, startHost(t, "worker", m))
}

func TestStreams_NodesGetInWhenAllAreTaken(t *testing.T) {
	t.Parallel()
	m := patient(t)
	var streams []slow
	for from := range byte(2 * maxStreams / maxStreamsOfOne) {
		for range maxStreamsOfOne {
			streams = append(streams, openSlow(t, from+1, m))
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		w := startHost(t, name, m)
		m.sees(Alive, w)
		w.sees(Alive, m)
	}
	open := 0
	for _, s := range streams {
		if s.open() {
			open++
		}
	}
	if open > maxStreams || open == 0 {
		t.Errorf("strangers have %d streams", open)
	}
}

func TestStreams_WhoHasMostLosesFirst(t *testing.T) {
	t.Parallel()
	m := patient(t)
	var streams []slow
	for i := range maxStreams - 2 { // one each, the oldest of all
		streams = append(streams, openSlow(t, byte(100+i), m))
	}
	greedy := len(streams)
	for range 2 {
		streams = append(streams, openSlow(t, 1, m))
	}
	streams = append(streams, openSlow(t, 2, m)) // one too many
	stay(t, streams, func(i int) bool { return i != greedy })
	streams = append(streams, openSlow(t, 3, m)) // now all have one
	stay(t, streams, func(i int) bool { return i != greedy && i != 0 })
}
