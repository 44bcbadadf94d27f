package bootstrap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

const join = "CBX1-SECRET"

// site is a manager for the line, which is run by a real shell with a real curl.
type site struct {
	*testing.T
	*httptest.Server
	ran     string // what the program has written, if it was run
	ca      func() []byte
	script  func() string
	program []byte

	mu    sync.Mutex // of all that is served
	asked []string   // path and secret
}

// newSite serves a script as the program.
func newSite(t *testing.T) *site {
	t.Helper()
	testenv.Root(t)
	s := &site{T: t, ran: filepath.Join(t.TempDir(), "ran")}
	s.program = fmt.Appendf(nil, "#!/bin/sh\n{ echo \"$@\"; cat; } >'%s'\n", s.ran)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	s.ca = func() []byte { return ca }
	sum := sha256.Sum256(s.program)
	s.script = func() string {
		return Script(Program{
			URL:     s.URL + PathProgram,
			Role:    "worker",
			Version: "1'; reboot",
			SHA256:  hex.EncodeToString(sum[:]),
			Arch:    runtime.GOARCH,
		})
	}
	return s
}

// change changes what is served.
func (s *site) change(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// anotherCA returns the certificate of a CA that has signed nothing.
func anotherCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Path+" "+r.Header.Get("Authorization"))
	switch r.URL.Path {
	case PathCA:
		_, _ = w.Write(s.ca())
	case PathScript:
		_, _ = io.WriteString(w, s.script())
	case PathProgram:
		_, _ = w.Write(s.program)
	}
}

func (s *site) line() string { return Command(strings.TrimPrefix(s.URL, "https://"), s.ca(), join) }

// paste runs a line on a machine that has systemd, as far as the script looks, and
// whose /usr/local/bin is empty. It returns what it says.
func (s *site) paste(line string) (said string, failed bool) {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), "unshare", "--mount", "sh", "-c",
		"mount -t tmpfs run /run && mkdir -p /run/systemd/system && mount -t tmpfs bin /usr/local/bin && exec sh "+
			"-c \"$1\"", "sh", line)
	cmd.Dir = s.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+s.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR="), "*"))
	if len(left) > 0 {
		s.Errorf("it leaves %q", left)
	}
	return string(out), err != nil
}

// untouched wants that no program was run and, where the manager was not the right
// one, that no secret was sent.
func (s *site) untouched(secret bool) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, err := os.ReadFile(s.ran); err == nil {
		s.Errorf("the program was run with %s", text)
	}
	if got := strings.Contains(strings.Join(s.asked, "\n"), join); got != secret {
		s.Errorf("the secret was sent: %v, in %q", got, s.asked)
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	said, failed := s.paste(s.line())
	ran, _ := os.ReadFile(s.ran)
	if failed || string(ran) != "install worker --join-file -\n"+join+"\n" ||
		!strings.Contains(said, "fetching crawlbox 1'; reboot\n") {
		t.Errorf("it runs %q and says %s", ran, said)
	}
	s.change(func() {
		if got := s.asked[0]; got != PathCA+" " {
			t.Errorf("it first asks %q", got)
		}
	})
}

func TestCommand_AnotherCA(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	right := append(s.ca(), '\n') // any other
	said, failed := s.paste(Command(strings.TrimPrefix(s.URL, "https://"), right, join))
	if !failed || !strings.Contains(said, "ca.pem: FAILED") {
		t.Errorf("it says %s", said)
	}
	s.untouched(false)
}

// TestCommand_AnotherServer shows the right CA, and cannot prove that it is of it.
func TestCommand_AnotherServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	right := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anotherCA(t)})
	s.change(func() { s.ca = func() []byte { return right } })
	said, failed := s.paste(s.line())
	if !failed || !strings.Contains(said, "ca.pem: OK") || !strings.Contains(said, "curl: (60)") {
		t.Errorf("it says %s", said)
	}
	s.untouched(false)
}

func TestCommand_AnotherProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.change(func() { s.program = append(s.program, "echo more\n"...) })
	said, failed := s.paste(s.line())
	if !failed || !strings.Contains(said, "another checksum") {
		t.Errorf("it says %s", said)
	}
	s.untouched(true)
}

func TestCommand_AnotherArchitecture(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := func() string {
		return Script(Program{
			URL:  s.URL + PathProgram,
			Role: "worker",
			Arch: map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH],
		})
	}
	s.change(func() { s.script = other })
	said, failed := s.paste(s.line())
	if !failed || !strings.Contains(said, "copy the right one here") {
		t.Errorf("it says %s", said)
	}
	s.untouched(true)
}

func TestCommand_Refused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.change(func() { s.script = func() string { return Refusal(errors.New("it's `revoked` $HOME")) } })
	said, failed := s.paste(s.line())
	if !failed || !strings.HasSuffix(said, "crawlbox: it's `revoked` $HOME\n") {
		t.Errorf("it says %s", said)
	}
	s.untouched(true)
}

func TestCommand_WhereNothingMayBeRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	said, failed := s.paste(`mount -t tmpfs -o noexec tmp "$TMPDIR"; ` + s.line())
	if !failed || !strings.Contains(said, "export TMPDIR=/root") {
		t.Errorf("it says %s", said)
	}
	s.untouched(true)
}

func TestCommand_WithoutSystemd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	said, failed := s.paste("rm -r /run/systemd; " + s.line() + "; ls -l /usr/local/bin; false")
	if !failed || !strings.Contains(said, "crawlbox worker --join TOKEN") || !strings.Contains(said, "-rwxr-xr-x") {
		t.Errorf("it says %s", said)
	}
	s.untouched(true)
}
