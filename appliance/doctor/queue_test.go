package doctor

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestQueueHere takes any answer of the Redis protocol, and nothing else, for the queue.
func TestQueueHere(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"-NOAUTH Authentication required.\r\n": "",
		"+PONG\r\n":                            "",
		"HTTP/1.1 400 Bad Request\r\n\r\n":     "what answers there is not the queue",
		"":                                     "EOF",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 6))
			_, _ = conn.Write([]byte(says))
		}()
		got := QueueHere(t.Context(), netip.MustParseAddrPort(ln.Addr().String()), nil)
		if (got.Level == OK) != (want == "") || !strings.Contains(got.Text, want) {
			t.Errorf("%q is %+v, want %q", says, got, want)
		}
	}
	got := QueueHere(t.Context(), netip.MustParseAddrPort("127.0.0.1:1"), nil)
	if got.Level != Warn || !strings.Contains(got.Text, "connection refused") {
		t.Errorf("where nothing listens: %+v", got)
	}
}
