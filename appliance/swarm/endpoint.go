package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/docker/client"
)

// endpoint is the address of an engine and the directory of its TLS files.
type endpoint struct {
	host     string
	certPath string // ca.pem, cert.pem and key.pem; empty: no TLS
}

// findEndpoint follows the order of the docker command: an explicit host,
// DOCKER_HOST, DOCKER_CONTEXT, the current context of ~/.docker/config.json,
// the default socket.
func findEndpoint(host string, getenv func(string) string) (endpoint, error) {
	if host != "" {
		return endpoint{host: host}, nil
	}
	if h := getenv("DOCKER_HOST"); h != "" {
		return endpoint{host: h, certPath: tlsFromEnv(getenv)}, nil
	}
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(getenv("HOME"), ".docker")
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var err error
		if name, err = currentContext(dir); err != nil {
			return endpoint{}, err
		}
	}
	if name == "" || name == "default" {
		return endpoint{host: client.DefaultDockerHost}, nil
	}
	return readContext(dir, name)
}

func tlsFromEnv(getenv func(string) string) string {
	if getenv("DOCKER_TLS_VERIFY") == "" {
		return ""
	}
	if p := getenv("DOCKER_CERT_PATH"); p != "" {
		return p
	}
	return filepath.Join(getenv("HOME"), ".docker")
}

// currentContext returns the context that `docker context use` chose.
func currentContext(dir string) (string, error) {
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read docker's config: %w", err)
	}
	var cfg struct{ CurrentContext string }
	if err := json.Unmarshal(b, &cfg); err != nil {
		return "", fmt.Errorf("read docker's config %s: %w; mend the file or set DOCKER_HOST", path, err)
	}
	return cfg.CurrentContext, nil
}

// readContext reads a docker context: its metadata and TLS files lie in
// directories named after the SHA-256 of its name.
func readContext(dir, name string) (endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	b, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", id, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return endpoint{}, fmt.Errorf(
			"docker context %q does not exist in %s; choose one with `docker context use` or set DOCKER_HOST", name,
			dir)
	}
	if err != nil {
		return endpoint{}, fmt.Errorf("read docker context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return endpoint{}, fmt.Errorf("read docker context %q: %w", name, err)
	}
	ep := endpoint{host: meta.Endpoints["docker"].Host}
	if ep.host == "" {
		return endpoint{}, fmt.Errorf(
			"docker context %q names no host; choose another with `docker context use` or set DOCKER_HOST", name)
	}
	tls := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		ep.certPath = tls
	}
	return ep, nil
}

// options turns the endpoint into those of the SDK's client.
func (ep endpoint) options() ([]client.Opt, error) {
	u, err := client.ParseHostURL(ep.host)
	if err != nil {
		return nil, fmt.Errorf("use Docker Engine at %q: %w", ep.host, err)
	}
	switch {
	case u.Scheme == "unix":
		return []client.Opt{client.WithHost(ep.host), client.WithDialContext(dialer(u.Host))}, nil
	case u.Scheme == "ssh":
		return nil, fmt.Errorf("docker at %s is reached over ssh; crawlbox must run on the same machine as its engine",
			ep.host)
	case ep.certPath != "":
		f := func(name string) string { return filepath.Join(ep.certPath, name) }
		return []client.Opt{client.WithHost(
			ep.host), client.WithTLSClientConfig(f("ca.pem"), f("cert.pem"), f("key.pem"))}, nil
	}
	return []client.Opt{client.WithHost(ep.host)}, nil
}
