package e2e

import (
	"context"
	"regexp"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// public is an image's name at the registry on the network.
func (c *cluster) public(image string) string { return c.manager.At(8003) + "/" + image }

// inContainerd reports whether the host's Docker keeps images in containerd.
func (c *cluster) inContainerd(h *lab.Host) bool {
	c.Helper()
	return strings.Contains(h.Docker("info", "--format", "{{.DriverStatus}}"), "io.containerd.snapshotter")
}

// ownWords are those of a Docker that keeps images in containerd, of what a registry
// refuses: it asks with HEAD, or for a token, and does not pass on what that answers.
var ownWords = regexp.MustCompile(`no basic auth credentials|: 403 Forbidden|: 429 Too Many Requests`)

// saysRefused wants Docker on a host to have said what the registry says, where it does.
func (c *cluster) saysRefused(h *lab.Host, said string, parts ...string) {
	c.Helper()
	if !c.inContainerd(h) {
		contains(c.T, said, parts...)
	} else if !ownWords.MatchString(said) {
		c.Errorf("%q is no refusal", said)
	}
}

// docker runs docker on a host, which may fail, and returns all it says. Docker
// would try some things again for minutes.
func (a *access) docker(h *lab.Host, args ...string) (said string, code int) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), quick)
	defer cancel()
	r := h.Exec(ctx, append([]string{"docker"}, args...)...)
	return r.Stdout + r.Stderr, r.Code
}

// dockerFails wants docker to end with a line that has all parts, and returns it.
func (a *access) dockerFails(h *lab.Host, args []string, parts ...string) (last string) {
	a.Helper()
	said, code := a.docker(h, args...)
	if code != 1 {
		a.Errorf("docker %s on %s ends with %d: %s", strings.Join(args, " "), h.Name(), code, said)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last = lines[len(lines)-1]
	a.Logf("docker %s: %s", args[0], last)
	contains(a.T, last, parts...)
	return last
}

// dockerRefused wants docker to end with a refusal of the registry's.
func (a *access) dockerRefused(h *lab.Host, args []string, parts ...string) {
	a.Helper()
	a.saysRefused(h, a.dockerFails(h, args), parts...)
}

// registryLogin pushes from a host outside the cluster as the command says.
func (a *access) registryLogin() {
	x := a.public("x:1")
	a.outside.Load(artifact.TinyImage(a, x, 0))
	a.dockerFails(a.outside, []string{"push", x}, "certificate") // it does not know the CA yet

	a.loginAs("laptop")
	a.outside.Docker("push", "--quiet", x)
	a.outside.Docker("image", "rm", x)
	a.outside.Docker("pull", "--quiet", x)
	contains(a.T, a.run("registry", "ls"), "laptop")
	contains(a.T, a.run("images"), "x:1")

	registry := a.manager.At(8003)
	a.dockerFails(a.outside, []string{"login", registry, "--username", "laptop", "--password", "wrong"},
		"user or password is wrong")

	a.run("registry", "logout", "laptop")
	a.outside.Docker("image", "tag", x, a.public("y:1"))
	a.dockerRefused(a.outside, []string{"push", a.public("y:1")}, "user or password is wrong")
	a.dockerRefused(a.outside, []string{"pull", x}, "user or password is wrong")
	a.outside.Docker("logout", registry)
	a.dockerRefused(a.outside, []string{"push", a.public("y:1")}, "docker login "+registry, "crawlbox registry login")
	a.dockerRefused(a.outside, []string{"pull", x}, "docker login "+registry, "crawlbox registry login")
	if strings.Contains(a.run("images"), "y:1") {
		a.Error("an image was pushed all the same")
	}
}

// loginAs runs on the host outside what `crawlbox registry login` prints.
func (a *access) loginAs(name string) {
	a.Helper()
	lines := a.run("registry", "login", name)
	contains(a.T, lines, "as tee /etc/docker/certs.d/"+a.manager.At(8003)+"/ca.crt", "--password-stdin")
	contains(a.T, a.outside.MustExec("sh", "-euc", lines), "Login Succeeded")

	var login api.RegistryLogin
	a.read(&login, "registry", "login", "other")
	kept := a.manager.ReadFile("/var/lib/crawlbox/ca/accounts.json")
	if n := len(regexp.MustCompile(`"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"`).FindAllString(kept, -1)); n != 2 {
		a.Errorf("accounts.json has %d bcrypt hashes, want 2: %s", n, kept)
	}
	password := strings.Fields(lines[strings.LastIndex(lines, "<<'EOF'\n"):])[1]
	for _, p := range []string{password, login.Password} {
		if len(p) < 20 || strings.Contains(kept, p) {
			a.Errorf("a password of %d characters is in accounts.json: %v", len(p), strings.Contains(kept, p))
		}
	}
}

// registryNodes have images without a login, and write none.
func (a *access) registryNodes() {
	x := a.public("x:1")
	a.worker.Docker("pull", "--quiet", x)
	a.worker.Docker("image", "tag", x, a.public("z:1"))
	a.dockerRefused(a.worker, []string{"push", a.public("z:1")}, "may only read", "docker login",
		"crawlbox registry login")
	a.worker.Docker("image", "rm", x, a.public("z:1"))
	a.manager.Docker("service", "create", "--detach", "--name", "x", "--network", "host", "--constraint",
		"node.role==worker", x)
	a.awaitRunning("x", 1)
	if strings.Contains(a.run("images"), "z:1") {
		a.Error("an image was pushed by a worker")
	}
}
