package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// CertsDir is the directory in which Docker looks, at each pull, for the CAs of registries.
const CertsDir = "/etc/docker/certs.d"

// caMark begins the files of InstallCA. Docker skips text before the certificate.
const caMark = "# Put here by crawlbox, which also takes it away.\n"

// InstallCA makes Docker trust the registry at HOST:PORT if it has a certificate
// of the CA. It writes root/HOST:PORT/ca.crt, unless that is so already. A file
// there that is not crawlbox's is left alone, and an error; one with this CA is what the
// lines of `crawlbox registry login` have put there.
func InstallCA(root, hostport string, caPEM []byte) error {
	path, err := certsPath(root, hostport)
	if err != nil {
		return err
	}
	want := append([]byte(caMark), caPEM...)
	have, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(have, want):
		return nil
	case err == nil && !bytes.HasPrefix(have, []byte(caMark)) &&
		!bytes.Equal(bytes.TrimSpace(have), bytes.TrimSpace(caPEM)):
		return fmt.Errorf("trust registry %s: %s is not crawlbox's: move it away", hostport, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("trust registry %s: %w", hostport, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("trust registry %s: %w", hostport, err)
	}
	if err := durable.WriteFile(path, want, 0o644); err != nil {
		return fmt.Errorf("trust registry %s: %w", hostport, err)
	}
	return nil
}

// RemoveCA takes back what InstallCA did, and its directory if nothing else is in it.
func RemoveCA(root, hostport string) error {
	path, err := certsPath(root, hostport)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.HasPrefix(have, []byte(caMark)) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("stop trusting registry %s: %w", hostport, err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails where an operator has files there
	return nil
}

// RemoveCAs takes back what InstallCA did in root for a CA, whatever the registries are.
func RemoveCAs(root string, caPEM []byte) error {
	own := append([]byte(caMark), caPEM...)
	return removeCAs(root, func(path string) bool {
		have, err := os.ReadFile(path)
		return err != nil || bytes.Equal(have, own) // RemoveCA says what is wrong with it
	})
}

// RemoveAllCAs takes back all that InstallCA ever did in root, and root if nothing else
// is in it.
func RemoveAllCAs(root string) error {
	return removeCAs(root, func(string) bool { return true })
}

func removeCAs(root string, fits func(path string) bool) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if path, err := certsPath(root, e.Name()); err == nil && fits(path) { // others are not InstallCA's
			errs = append(errs, RemoveCA(root, e.Name()))
		}
	}
	_ = os.Remove(root) // fails where an operator has files there
	return errors.Join(errs...)
}

func certsPath(root, hostport string) (string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host == "" || port == "" || strings.ContainsAny(hostport, "/\\\x00") {
		return "", fmt.Errorf("registry %q is not HOST:PORT", hostport)
	}
	return filepath.Join(root, hostport, "ca.crt"), nil
}
