package testenv

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// valkeyVariable names a valkey-server, where there is one that is not in PATH.
const valkeyVariable = "QUEUE_VALKEY"

// Redis starts a Valkey, or a Redis, on loopback that keeps nothing on disk, with more of its settings
// (--NAME VALUE), until the test ends, and returns its address.
func Redis(t testing.TB, settings ...string) (addr string) {
	t.Helper()
	for _, name := range []string{os.Getenv(valkeyVariable), "valkey-server", "redis-server"} {
		if program, err := exec.LookPath(name); err == nil {
			return RedisOf(t, program, settings...)
		}
	}
	SkipOrFail(t, "redis-server is missing: run .ci/deps")
	return ""
}

// RedisOf does so with one program.
func RedisOf(t testing.TB, program string, settings ...string) (addr string) {
	t.Helper()
	var err error
	for range 10 {
		if addr, err = tryRedis(t, program, settings); err == nil {
			return addr
		}
	}
	t.Fatalf("start %s: %v", program, err)
	return ""
}

// tryRedis starts one on a port that was free just now; another process may have taken it meanwhile.
func tryRedis(t testing.TB, program string, settings []string) (string, error) {
	addr := FreeAddr(t).String()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(program, append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
	}, settings...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		ended <- <-ended
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			ended <- err
			return "", fmt.Errorf("it ended: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
		if answers(addr) {
			return addr, nil
		}
	}
	return "", fmt.Errorf("%s does not answer", addr)
}

// answers reports whether a server of Redis is there, with a password or without.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line := make([]byte, len("+PONG"))
	_, err = io.ReadFull(c, line)
	return err == nil && (string(line) == "+PONG" || string(line) == "-NOAU") // without a password, or with one
}
