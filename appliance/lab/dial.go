package lab

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// DialContext connects from the host, as a program on it would. The address
// must hold a number or localhost: names are not looked up on the host. A
// connection made once lasts as any other, also when the cable is cut.
//
// A socket belongs to the network namespace of the thread that makes it, so
// only the dialling has to be done there.
func (h *Host) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = frame.Inside(h.PID(), []string{"net", "mnt"}, func() error {
		dialer := net.Dialer{FallbackDelay: -1} // else two addresses are tried on other threads
		conn, err = dialer.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens on the host, as a program on it would, at an address that holds a
// number. Whoever accepts is in the test.
func (h *Host) Listen(addr string) (ln net.Listener) {
	h.lab.t.Helper()
	err := frame.Inside(h.PID(), []string{"net"}, func() (err error) {
		ln, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		h.lab.t.Fatalf("lab: host %s: listen: %v", h.name, err)
	}
	return ln
}

// HTTPClient returns a client whose connections all go to a Unix socket on the
// host, such as /run/docker.sock; with "" they are TCP connections from the
// host, see DialContext.
func (h *Host) HTTPClient(socket string) *http.Client {
	transport := &http.Transport{DialContext: h.DialContext, IdleConnTimeout: 10 * time.Second}
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.DialContext(ctx, "unix", socket)
		}
	}
	return &http.Client{Transport: transport}
}

// WriteFile writes a file on the host, mode 0644, and makes the directories above
// it.
func (h *Host) WriteFile(path, content string) {
	h.lab.t.Helper()
	err := frame.Inside(h.PID(), frame.Files, func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(content), 0o644)
	})
	if err != nil {
		h.lab.t.Fatalf("lab: host %s: write file: %v", h.name, err)
	}
}

// ReadFile returns a file on the host.
func (h *Host) ReadFile(path string) string {
	h.lab.t.Helper()
	var content []byte
	err := frame.Inside(h.PID(), frame.Files, func() (err error) {
		content, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		h.lab.t.Fatalf("lab: host %s: read file: %v", h.name, err)
	}
	return string(content)
}
