package swarm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
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

// dormant reports whether connecting to the socket at path would start an engine
// that is stopped now: systemd listens there for docker.service, and the
// service does not run. Where systemd cannot be asked the answer is no.
//
// A stop may begin between the answer and the connection. That is rare, because
// connections are kept: a new one is needed only when the engine has closed the
// last, and before it does so systemd says that it stops.
func dormant(ctx context.Context, path string) bool {
	if !util.IsRunningSystemd() || !isDockerSocket(path) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	return activeState(ctx, conn, "docker.socket") == "active" && !isRunning(activeState(ctx, conn, "docker.service"))
}

// isRunning reports whether a service in that state answers. One that starts or stops
// is left alone: a connection that it no longer takes would start it.
func isRunning(state string) bool { return state == "active" || state == "reloading" }

func activeState(ctx context.Context, conn *dbus.Conn, unit string) string {
	p, err := conn.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return ""
	}
	s, _ := p.Value.Value().(string)
	return s
}

// isDockerSocket reports whether path is the socket of Docker's own unit, also by
// way of the link from /var/run to /run.
func isDockerSocket(path string) bool {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path == "/run/docker.sock" && exists("/run/systemd/private")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
