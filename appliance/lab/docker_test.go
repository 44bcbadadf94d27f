package lab_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

func TestDocker_KilledLeavesContainers(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost()
	h.Load(artifact.TinyImage(t, "tiny:0.01", 0))
	h.Docker("run", "--detach", "--name=tiny", "--network=host", "tiny:0.01")

	h.KillDocker()
	if got := h.MustExec("pgrep", "--exact", "tiny"); got == "" {
		t.Error("the container has ended with dockerd")
	}
	if _, err := h.HTTPClient("/run/docker.sock").Get("http://docker/_ping"); err == nil {
		t.Error("a killed dockerd answers")
	}
	h.StartDocker()
	h.Docker("rm", "--force", "tiny")
	if r := h.Exec(t.Context(), "pgrep", "--exact", "tiny"); r.Code != 1 {
		t.Errorf("the removed container still runs as %s", r.Stdout)
	}
}

func TestDocker_StoppedAndStarted(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost(lab.DockerFlags("--live-restore", "--label=rack=7"))
	if got := h.Docker("info", "--format={{.LiveRestoreEnabled}} {{.Labels}} "+
		"{{.Driver}}"); got != "true [rack=7] overlay2" {
		t.Errorf("docker info: %s", got)
	}
	h.StopDocker()
	if _, err := os.Stat(h.DockerSocket()); err == nil {
		t.Error("a stopped dockerd has left its socket")
	}
	h.StartDocker()
	response, err := h.HTTPClient("/run/docker.sock").Get("http://docker/_ping")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("ping: %s", response.Status)
	}
}

func TestWalkthrough_BuildsUnchanged(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost()
	h.LoadPythonBase()
	dir := artifact.Spider(t, "127.0.0.1", "secret")
	if output := h.MustExec("env", "DOCKER_BUILDKIT=0", "docker", "build", "--tag=localhost:8003/spider:0.01",
		dir); !strings.Contains(output, "Requirement already satisfied: redis") {
		t.Errorf("pip did not find redis in the base image:\n%s", output)
	}
	got := h.Docker("run", "--rm", "localhost:8003/spider:0.01", "python3", "-c",
		"import redis; print(open('spider.py').read())")
	if !strings.Contains(got, "host='127.0.0.1', port='7891', password='secret'") {
		t.Errorf("the image's spider is\n%s", got)
	}
}

func TestTinyImage_ExitCodeAndSize(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost()
	const padding = 5 << 20
	tar := artifact.TinyImage(t, "example.org/padded:1", padding)
	if info, err := os.Stat(tar); err != nil || info.Size() < padding {
		t.Errorf("the padded image is %v, %v", info, err)
	}
	h.Load(tar)
	r := h.Exec(t.Context(), "docker", "run", "--rm", "--network=host", "--env=TINY_EXIT=4", "example.org/padded:1")
	if r.Code != 4 || r.Stdout != "tiny from example.org/padded:1 on h1\n" {
		t.Errorf("it ended with %+v", r)
	}
}

func TestInstall_OnEveryPath(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	program := filepath.Join(t.TempDir(), "greet")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho hello from $(hostname)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := l.AddHost(lab.WithoutDocker())
	l.Install(program)
	if got := h.MustExec("greet"); got != "hello from h1" {
		t.Errorf("greet: %q", got)
	}
}

func TestSystemd_BootsWithDocker(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	started := time.Now()
	m := l.AddHost(lab.Systemd(), lab.Hostname("deb"))
	t.Logf("booted after %s", time.Since(started).Round(time.Millisecond))
	if got := m.MustExec("systemctl", "is-active", "docker.service", "docker.socket"); got != "active\nactive" {
		t.Errorf("units are %q", got)
	}
	if got := m.MustExec("hostname"); got != "deb" {
		t.Errorf("host name is %q", got)
	}

	h := l.AddHost(lab.WithoutDocker())
	t.Run("is on the same bridge", func(t *testing.T) {
		p := m.Start("listener", "systemd-socket-activate", "--accept", "--inetd", "--listen=8080", "cat")
		lab.WaitFor(t, 5*time.Second, "a connection from the other host", func() error {
			conn, err := h.DialContext(t.Context(), "tcp", m.At(8080))
			if err != nil {
				return err
			}
			return conn.Close()
		})
		p.Kill()
	})
	t.Run("runs containers", func(t *testing.T) {
		m.Load(artifact.TinyImage(t, "tiny:0.01", 0))
		if got := m.Docker("run", "--rm", "--network=host", "--env=TINY_EXIT=0",
			"tiny:0.01"); got != "tiny from tiny:0.01 on deb" {
			t.Errorf("the container says %q", got)
		}
	})
	t.Run("a stopped Docker is woken through its socket", func(t *testing.T) {
		m.StopDocker()
		if got := m.Exec(t.Context(), "systemctl", "is-active", "docker.service").Stdout; got != "inactive\n" {
			t.Errorf("docker.service is %q after a stop", got)
		}
		m.Docker("info")
		m.MustExec("systemctl", "is-active", "docker.service")
	})
	t.Run("a power cut leaves the disk", func(t *testing.T) {
		m.WriteFile("/etc/crawlbox/crawlbox.yaml", "a: 1\n")
		m.PowerOff()
		m.PowerOn()
		if got := m.ReadFile("/etc/crawlbox/crawlbox.yaml"); got != "a: 1\n" {
			t.Errorf("after the power cut: %q", got)
		}
	})
}
