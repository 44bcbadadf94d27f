package doctor

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestListenSoon waits for a port whose process is ending, and says who has it where it does not end.
func TestListenSoon(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(ln.Addr().String())
	if _, err := ListenSoon(addr, "queue.port"); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("of one that stays: %v", err)
	}
	closed := time.AfterFunc(soon/10, func() { ln.Close() })
	t.Cleanup(func() { closed.Stop() })
	again, err := ListenSoon(addr, "queue.port")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
