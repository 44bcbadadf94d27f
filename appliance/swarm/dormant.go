package swarm

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
)

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
