package pki

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestInstallCA(t *testing.T) {
	t.Parallel()
	root, host := filepath.Join(t.TempDir(), "certs.d"), "10.0.0.1:8003"
	path := filepath.Join(root, host, "ca.crt")
	ca, next := newTestCA(t), newTestCA(t)
	for _, c := range []*CA{ca, ca, next} {
		if err := InstallCA(root, host, c.PEM()); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pool, want := x509.NewCertPool(), x509.NewCertPool()
	want.AddCert(next.cert)
	if !pool.AppendCertsFromPEM(data) || !pool.Equal(want) { // as Docker reads it
		t.Errorf("file is not the last CA: %s", data)
	}
	testenv.WantMode(t, path, 0o644)

	theirs := filepath.Join(root, host, "client.cert")
	if err := os.WriteFile(theirs, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := RemoveCA(root, host); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("CA is still there: %v", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("the operator's file is gone: %v", err)
	}
}

// TestInstallCA_TakesOver wants a machine on which the lines of a login were pasted to start.
func TestInstallCA_TakesOver(t *testing.T) {
	t.Parallel()
	const host = "10.0.0.1:8003"
	root, ca := t.TempDir(), newTestCA(t).PEM()
	path, err := certsPath(root, host)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(bytes.TrimSpace(ca), "\n\n"...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := InstallCA(root, host, ca); err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(have, []byte(caMark)) {
		t.Errorf("it has %s, %v", have, err)
	}
}

func TestInstallCA_LeavesOthersAlone(t *testing.T) {
	t.Parallel()
	root, host := t.TempDir(), "registry.example:443"
	path := filepath.Join(root, host, "ca.crt")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := InstallCA(root, host, newTestCA(t).PEM()); err == nil {
		t.Error("replaced the operator's CA")
	}
	if err := RemoveCA(root, host); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "theirs" {
		t.Errorf("file became %q", data)
	}
	for _, bad := range []string{"", "host", "../../x:1", "a/b:1", ":8003", "host:"} {
		if err := InstallCA(root, bad, nil); err == nil {
			t.Errorf("%q was taken for HOST:PORT", bad)
		}
	}
}

func TestInstallCA_RemovesItsEmptyDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := InstallCA(root, "[::1]:8003", newTestCA(t).PEM()); err != nil {
		t.Fatal(err)
	}
	if err := RemoveCA(root, "[::1]:8003"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestRemoveAllCAs(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "certs.d")
	install := func() {
		t.Helper()
		for _, host := range []string{"10.0.0.1:8003", "10.0.0.2:8003"} {
			if err := InstallCA(root, host, newTestCA(t).PEM()); err != nil {
				t.Fatal(err)
			}
		}
	}
	install()
	for range 2 {
		if err := RemoveAllCAs(root); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", root, err)
	}
	install()
	theirs := filepath.Join(root, "registry.example", "ca.crt")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAllCAs(root); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 || entries[0].Name() != "registry.example" {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// TestRemoveCAs takes back what was put there for a CA, and leaves what is another's.
func TestRemoveCAs(t *testing.T) {
	t.Parallel()
	root, ca, other := filepath.Join(t.TempDir(), "certs.d"), newTestCA(t).PEM(), newTestCA(t).PEM()
	for host, pem := range map[string][]byte{"10.0.0.1:8003": ca, "10.0.0.2:8003": ca, "10.0.0.3:8003": other} {
		if err := InstallCA(root, host, pem); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := RemoveCAs(root, ca); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 || entries[0].Name() != "10.0.0.3:8003" {
		t.Errorf("left are %v, %v", entries, err)
	}
}
