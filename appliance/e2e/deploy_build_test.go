package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// sleeper is a Dockerfile whose container runs until it is stopped.
const sleeper = "CMD [\"python3\",\"-c\",\"import time; time.sleep(1e6)\"]\n"

// noStages wants nothing but images with names: BuildKit leaves no image of a stage.
func (c *cluster) noStages() {
	if left := c.manager.Docker("images", "--all", "--quiet", "--filter", "dangling=true"); left != "" {
		c.Errorf("the builds left the images %q", left)
	}
}

// buildSecret gives a build a secret, which is nowhere afterwards: not in the image
// or its history, the engine's cache, crawlbox's files or what crawlbox wrote.
func (c *cluster) buildSecret() {
	secret := "build-secret-" + rand.Text()
	directory := filesIn(c.T, map[string]string{"Dockerfile": fmt.Sprintf(
		"FROM spiders:lab\nRUN --mount=type=secret,id=token sha256sum /run/secrets/token | grep -q %x && echo the "+
			"secret is right\n", sha256.Sum256([]byte(secret))) + sleeper})
	path := filepath.Join(filesIn(c.T, map[string]string{"token": secret}), "token")
	command := []string{
		"deploy", directory, "--name", "withsecret", "--monitor", "1s", "--secret", "id=token,src=" + path,
	}
	out := c.run(command...)
	contains(c.T, out, "the secret is right", "built localhost:8003/withsecret:0.01")
	contains(c.T, c.fails(c.manager, 1, append(command, "--builder", "classic")...),
		"build secrets need BuildKit, which is not to be had here: the classic builder was asked for")

	history := c.manager.Docker("history", "--no-trunc", "localhost:8003/withsecret:0.01")
	said := c.agents[c.manager].Logs()
	if strings.Contains(out+history+said, secret) {
		c.Errorf("the secret is in %s%s%s", out, history, said)
	}
	if r := c.manager.Exec(c.Context(), "grep", "-rlF", secret, dataDir, "/var/lib/docker", "/etc"); r.Stdout != "" {
		c.Errorf("the secret is in %s", r.Stdout)
	}
	// The search finds what is there.
	if r := c.manager.Exec(c.Context(), "grep", "-rlF", "the secret is right", "/var/lib/docker"); r.Stdout == "" {
		c.Errorf("the search does not find the command of the step: %s", r.Stderr)
	}
}

// classicBuilder builds as on an engine that has no BuildKit, or was told not to use
// it.
func (c *cluster) classicBuilder() {
	directory := filesIn(c.T, map[string]string{"Dockerfile": "FROM spiders:lab\nARG WHO\nRUN echo hello $WHO\n" +
		sleeper})
	command := []string{"deploy", directory, "--name", "byclassic", "--monitor", "1s", "--build-arg", "WHO=world"}
	contains(c.T, c.run(append(command, "--builder", "classic")...), "Step 1/4 : FROM spiders:lab", "hello world",
		"built localhost:8003/byclassic:0.01")
	env := append([]string{"env", "DOCKER_BUILDKIT=0", "crawlbox"}, command...)
	contains(c.T, c.manager.MustExec(env...), "Step 3/4 : RUN echo hello", "built localhost:8003/byclassic:0.02")

	c.buildKit(false)
	contains(c.T, c.run(command...), "Step 4/4 : CMD", "built localhost:8003/byclassic:0.03")
	contains(c.T, c.run(append(command, "--builder", "buildkit", "--no-cache")...), "#1 [internal]", "hello world",
		"built localhost:8003/byclassic:0.04")
	c.buildKit(true)
}

// numbers gives each image a new number, also after the last one was removed, and none to what
// can't be deployed.
func (c *cluster) numbers() {
	directory := filesIn(c.T, map[string]string{"Dockerfile": "FROM spiders:lab\n" + sleeper})
	command := []string{"deploy", directory, "--name", "numbered", "--monitor", "1s"}
	contains(c.T, c.run(append(command, "--dry-run")...), "create numbered\n  build: "+directory+
		" as localhost:8003/numbered:0.01, and push it\n  pull: bring localhost:8003/numbered:0.01 onto 1 node "+
		"within 5m\n"+
		"  update: create service numbered with 1 replica\n  watch: until all have run for 1s")
	c.run(command...)
	c.neverRuns(command)
	contains(c.T, c.fails(c.manager, 1, append(command, "--constraint", "node.labels.zone==nowhere")...), "node")
	contains(c.T, c.fails(c.manager, 1, "images", "rm", "numbered:0.01"), "numbered:0.01 is what numbered runs; ")
	c.run("images", "rm", "--force", "numbered:0.01")
	contains(c.T, c.run(append(command, "--dry-run")...), "change numbered: image", "numbered:0.02, and push it")
	contains(c.T, c.run(command...), "built localhost:8003/numbered:0.02 in ")

	// What Docker has though the registry does not, as after an older one was restored, is known too.
	c.manager.Docker("tag", "spiders:lab", "localhost:8003/numbered:0.07")
	contains(c.T, c.run(append(command, "--dry-run")...), "numbered:0.08, and push it")

	c.manager.Docker("tag", "spiders:lab", "lab/pushed")
	contains(c.T, c.run("push", "lab/pushed"), "pushed localhost:8003/pushed:0.01 in ")
	contains(c.T, c.run("push", "spiders:lab"), "pushed localhost:8003/spiders:lab in ")
	contains(c.T, c.fails(c.manager, 1, "push", "spiders:lab"), "spiders:lab is there already")
	contains(c.T, c.fails(c.manager, 1, "push", "nothing:1"), "Docker has no such image here: nothing:1; ")
}

// neverRuns has what can never run on the nodes refused before anything is built.
func (c *cluster) neverRuns(command []string) {
	for flags, says := range map[string]string{
		"--limit-cpu 4000":              "Docker refuses a limit of 4000 processors on each node",
		"--platform linux/s390x":        "no node can run it: image for linux/s390x (nodes are linux/amd64) excludes",
		"--max-per-node 1 --replicas 9": "9 replicas do not fit on 1 node with 1 on each at most; ask for 1 at most",
	} {
		for _, more := range [][]string{{"--dry-run"}, nil} {
			said := c.fails(c.manager, 1, slices.Concat(command, strings.Fields(flags), more)...)
			if contains(c.T, said, says); strings.Contains(said, "built") {
				c.Errorf("%s: was built: %s", flags, said)
			}
		}
	}
}

// buildKit turns the engine's BuildKit on or off, as it is done in daemon.json.
func (c *cluster) buildKit(on bool) {
	c.Helper()
	version := map[bool]string{true: "2", false: "1"}[on]
	c.manager.WriteFile("/etc/docker/daemon.json", fmt.Sprintf(`{"features":{"buildkit":%v}}`, on))
	c.manager.SignalDocker(syscall.SIGHUP)
	engine := c.manager.HTTPClient("/run/docker.sock")
	lab.WaitFor(c, patience, "builder of version "+version, func() error {
		resp, err := engine.Head("http://docker/_ping")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return want(resp.Header.Get("Builder-Version"), version)
	})
}

// tagOfGit tags images with the commit of their directory.
func (c *cluster) tagOfGit() {
	directory := filesIn(c.T, map[string]string{"Dockerfile": "FROM spiders:lab\n" + sleeper})
	command := []string{"deploy", directory, "--name", "bygit", "--monitor", "1s", "--tag", "git"}
	contains(c.T, c.fails(c.manager, 1, command...), "is in no git repository")
	git := func(args ...string) string {
		return strings.TrimSpace(c.manager.MustExec(
			append([]string{"git", "-C", directory, "-c", "user.name=e2e", "-c", "user.email=e2e@localhost"},
				args...)...))
	}
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message", "first")
	commit := git("rev-parse", "--short", "HEAD")
	contains(c.T, c.run(command...), "built localhost:8003/bygit:"+commit+" in ")
	contains(c.T, c.fails(c.manager, 1, command...), "the image bygit:"+commit+" is there already")
	if err := os.WriteFile(filepath.Join(directory, "new.py"), nil, 0o644); err != nil {
		c.Fatal(err)
	}
	contains(c.T, c.run(command...), "built localhost:8003/bygit:"+commit+"-dirty in ")
}
