package swarm

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
)

// dormant says whether connecting to the socket at path would start an engine
// that is stopped now: systemd listens there for docker.service, and the
// service is not active. Where systemd cannot be asked the answer is no.
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
	return activeState(ctx, conn, "docker.socket") == "active" &&
		activeState(ctx, conn, "docker.service") != "active"
}

func activeState(ctx context.Context, conn *dbus.Conn, unit string) string {
	p, err := conn.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return ""
	}
	s, _ := p.Value.Value().(string)
	return s
}

// isDockerSocket says whether path is the socket of Docker's own unit, also by
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
