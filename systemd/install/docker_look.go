package install

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

const (
	// repositories is where Docker has them, one for each system.
	repositories = "https://download.docker.com/linux/"
	// reachTimeout bounds each question to it.
	reachTimeout = 10 * time.Second
	// maxKey bounds the key, in bytes.
	maxKey = 64 << 10
)

func repository(id string) string { return repositories + id }

// LookDocker finds out what PlanDocker has to know. It changes nothing, and takes up
// to half a minute where the Internet is slow.
func (m *Machine) LookDocker(ctx context.Context) (b DockerTarget, err error) {
	text, err := m.read("/etc/os-release")
	if err != nil {
		return b, err
	}
	os := osRelease(text)
	b = DockerTarget{ID: os["ID"], Version: os["VERSION_ID"], Codename: os["VERSION_CODENAME"], Name: os["PRETTY_NAME"]}
	b.Docker = m.TraceOfDocker()
	if b.Docker != "" || !b.known() {
		return b, nil
	}
	arch, err := m.Command(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return b, err
	}
	b.Arch = strings.TrimSpace(arch)
	for _, name := range []string{"containerd", "runc", "podman-docker"} {
		state, err := m.Command(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", name)
		if err == nil && strings.TrimSpace(state) == "installed" {
			b.Rivals = append(b.Rivals, name)
		}
	}
	b.Listed = m.knowsRepository()
	if !b.Listed && len(b.Rivals) == 0 && m.Fetch != nil && b.Codename != "" {
		b.Key = m.dockerKey(ctx, b)
	}
	return b, nil
}

// TraceOfDocker returns a sign that Docker was installed here, by whatever means, such as
// /usr/bin/dockerd; empty: there is none.
func (m *Machine) TraceOfDocker() string {
	for _, path := range []string{
		"/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/docker", "/opt/bin/dockerd",
		"/lib/systemd/system/docker.service", "/etc/systemd/system/docker.service", "/var/run/docker.sock",
	} {
		if m.exists(path) {
			return path
		}
	}
	if path, err := exec.LookPath("dockerd"); m.Root == "" && err == nil {
		return path
	}
	return ""
}

// knowsRepository reports whether apt has Docker's own among its sources.
func (m *Machine) knowsRepository() bool {
	lists, _ := filepath.Glob(m.path("/etc/apt/sources.list.d/*"))
	for _, path := range append(lists, m.path("/etc/apt/sources.list")) {
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if err == nil && strings.Contains(line, repositories) && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				return true
			}
		}
	}
	return false
}

// dockerKey asks the repository for this release, and for its key.
func (m *Machine) dockerKey(ctx context.Context, b DockerTarget) string {
	if _, err := m.Fetch(ctx, repository(b.ID)+"/dists/"+b.Codename+"/Release"); err != nil {
		return ""
	}
	key, err := m.Fetch(ctx, repository(b.ID)+"/gpg")
	if err != nil || fingerprint(key) != dockerFingerprint {
		return ""
	}
	return key
}

// fetch gets a small file of the Internet.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", url, resp.Status)
	}
	text, err := bound.ReadAll(resp.Body, maxKey)
	return string(text), err
}

// osRelease reads os-release(5).
func osRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	return values
}
