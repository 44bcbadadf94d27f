package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// StartDocker starts the host's dockerd and returns when it answers.
func (h *Host) StartDocker() {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	if err := h.startDocker(ctx); err != nil {
		h.lab.t.Fatalf("lab: host %s: %v", h.name, err)
	}
}

// StopDocker stops the host's dockerd in good order, and with it its
// containers, and returns when it has ended. On a Systemd host it leaves
// docker.socket listening, as systemctl stop docker does.
func (h *Host) StopDocker() {
	h.lab.t.Helper()
	if h.spec.systemd {
		h.MustExec("systemctl", "stop", "docker.service")
		return
	}
	h.SignalDocker(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	if _, err := h.docker.Wait(ctx); err != nil {
		h.lab.t.Fatalf("lab: %v", err)
	}
}

// KillDocker kills dockerd with SIGKILL, as a crash does: its containers run
// on. On a Systemd host, systemd starts it again.
func (h *Host) KillDocker() {
	h.lab.t.Helper()
	h.SignalDocker(syscall.SIGKILL)
	if !h.spec.systemd {
		<-h.docker.done
	}
}

// SignalDocker sends a signal to dockerd, such as SIGSTOP for an engine that
// hangs.
func (h *Host) SignalDocker(s syscall.Signal) {
	h.lab.t.Helper()
	if h.spec.systemd {
		h.MustExec("systemctl", "kill", "--kill-who=main", fmt.Sprintf("--signal=%d", s), "docker.service")
		return
	}
	if h.docker == nil {
		h.lab.t.Fatalf("lab: host %s has no dockerd that was started", h.name)
	}
	if err := h.docker.Signal(s); err != nil {
		h.lab.t.Fatalf("lab: host %s: signal dockerd: %v", h.name, err)
	}
}

// DockerSocket returns the path of the Docker Engine's socket as seen from the
// machine. It holds until the host is switched off.
func (h *Host) DockerSocket() string {
	return filepath.Join("/proc", fmt.Sprint(h.PID()), "root/run/docker.sock")
}

func (h *Host) startDocker(ctx context.Context) error {
	if h.spec.systemd {
		return h.Exec(ctx, "systemctl", "start", "docker.service").Err()
	}
	args := []string{"dockerd", "--pidfile=/run/docker.pid", "--cgroup-parent=" + h.cgroup()}
	p, err := h.startProc("dockerd", append(args, h.spec.dockerFlags...))
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	h.docker = p
	return h.awaitDocker(ctx)
}

// cgroup returns where the host's containers are counted, so that they can be found
// when all else is gone.
func (h *Host) cgroup() string { return "/" + filepath.Base(h.lab.dir) + "/" + h.name }

func (h *Host) awaitDocker(ctx context.Context) error {
	client := h.HTTPClient("/run/docker.sock")
	defer client.CloseIdleConnections()
	for {
		err := ping(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-h.docker.done:
			return errors.New("start dockerd: " + frame.LastLine(h.docker.log, "it ended without a word"))
		case <-ctx.Done():
			return fmt.Errorf("wait for dockerd: %w", err)
		case <-time.After(frame.PollInterval):
		}
	}
}

func ping(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("docker answers %s", response.Status)
	}
	return nil
}
