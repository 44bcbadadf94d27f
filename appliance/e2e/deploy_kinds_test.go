package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// folderKind is a directory without a Dockerfile.
type directoryKind struct {
	name      string // of the service too
	directory string
	flags     []string
	steps     []string // what its Dockerfile has
	says      []string // what the spider writes
	ends      bool     // by itself
}

func directoryKinds(t *testing.T, queueHost string) []directoryKind {
	t.Helper()
	local := []string{"--base", "spiders:lab"}
	return []directoryKind{
		{"Python", walkthroughDirectory(t, queueHost), append(local, "--name", "python"),
			[]string{
				"FROM spiders:lab", "RUN pip install --no-cache-dir -r requirements.txt", `CMD ["python3","spider.py"]`,
			},
			[]string{"got: item0"}, true},
		{"Scrapy", spiderDirectory(t, "scrapy"), append(local, "--spider", "quotes"),
			[]string{"FROM spiders:lab", `CMD ["scrapy","crawl","quotes"]`},
			[]string{"Dijkstra", "Pike", "'item_scraped_count': 2"}, true},
		{"Node", spiderDirectory(t, "node"), nil,
			[]string{"FROM node:lts-slim", "RUN npm install", `CMD ["node","main.js"]`},
			[]string{"node spider on v"}, false},
		{"Go", spiderDirectory(t, "go"), nil,
			[]string{"FROM golang:1 AS build", "RUN go build", "FROM scratch"},
			[]string{"go spider of go1.", "keeps notes in /tmp/seen"}, false},
	}
}

// TestDeployKinds deploys directories without a Dockerfile: of the walkthrough's
// spider.py, a Scrapy project, a Node package and a Go module. The base images are
// on the host already, and hold what the spiders need. The Docker Engine's BuildKit
// builds; the rest of it, and the classic builder, come after.
func TestDeployKinds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 0)
	c.manager.LoadSpidersBase()
	c.run("queue", "push", "example:swarm:spider", "item0")

	kinds := directoryKinds(t, c.manager.IP().String())
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { c.sub(t).deployKind(k) })
	}
	t.Run("all done", func(t *testing.T) {
		c := c.sub(t)
		for _, k := range kinds {
			service := strings.ToLower(k.name)
			c.awaitComplete(service, "localhost:8003/"+service+":0.01", 1)
			contains(t, c.run("ps", service), "complete")
		}
	})
	t.Run("scrapy-redis", func(t *testing.T) { c.sub(t).scrapyRedis() })
	t.Run("nothing left", func(t *testing.T) { c.sub(t).noStages() })
	t.Run("secret", func(t *testing.T) { c.sub(t).buildSecret() })
	t.Run("classic", func(t *testing.T) { c.sub(t).classicBuilder() })
	t.Run("numbers", func(t *testing.T) { c.sub(t).numbers() })
	t.Run("git", func(t *testing.T) { c.sub(t).tagOfGit() })
	t.Run("ejected", func(t *testing.T) { c.sub(t).ejected(spiderDirectory(t, "node")) })
	t.Run("refused", func(t *testing.T) { c.sub(t).refusedDirectories() })
}

func (c *cluster) deployKind(k directoryKind) {
	c.Helper()
	service := strings.ToLower(k.name)
	command := append([]string{"deploy", k.directory, "--monitor", "1s"}, k.flags...)
	dockerfile := c.run(append(command, "--print-dockerfile")...)
	contains(c.T, dockerfile, k.steps...)
	out := c.run(command...)
	contains(c.T, out, "  #1 [internal] load metadata for ", "  #2 [", "] FROM ", " DONE 0.")
	contains(c.T, out, k.directory+" has no Dockerfile; as a "+k.name+" spider it gets this one",
		"\n  "+strings.ReplaceAll(dockerfile, "\n", "\n  ")+"\n", "built localhost:8003/"+service+":0.01")
	c.awaitOutput(service, k.says...)
	if !k.ends {
		// No shell may stand between Docker and the spider, and keep the signal.
		id := c.manager.Docker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name="+service)
		c.manager.Docker("kill", "--signal", "TERM", id)
		c.awaitOutput(service, "spider: asked to stop")
	}
}

// ejected writes the Dockerfile of a directory, which is the user's from then on.
func (c *cluster) ejected(directory string) {
	printed := c.run("deploy", directory, "--print-dockerfile")
	path := filepath.Join(directory, "Dockerfile")
	contains(c.T, c.run("deploy", directory, "--eject"), "wrote "+path)
	text, err := os.ReadFile(path)
	if err != nil || string(text) != printed+"\n" {
		c.Errorf("ejected %q, %v; want %q", text, err, printed)
	}
	contains(c.T, c.fails(c.manager, 1, "deploy", directory, "--eject"), "has a Dockerfile already")
	if out := c.run("deploy", directory, "--monitor", "1s"); strings.Contains(out, "has no Dockerfile") {
		c.Errorf("got %q", out)
	}
}

// refusedFolders can't be deployed, for reasons that fit into one line.
func (c *cluster) refusedDirectories() {
	deploy := func(files map[string]string, flags ...string) string {
		c.Helper()
		return c.fails(c.manager, 1, append([]string{"deploy", filesIn(c.T, files), "--name", "refused"}, flags...)...)
	}
	contains(c.T, deploy(nil), "has no Dockerfile, scrapy.cfg, ", "write a Dockerfile there")
	contains(c.T, deploy(map[string]string{"Dockerfile": "FROM spiders:lab\nRUN echo fine && false\n"}),
		"build failed at step 2/2: RUN echo fine && false: returned a non-zero code: 1")
	contains(c.T, deploy(map[string]string{"main.py": ""}, "--base", "nowhere:1"), "build failed at FROM nowhere:1: ",
		"docker load")
	contains(c.T, deploy(map[string]string{"Dockerfile": "FROM spiders:lab\nCOPY nothing ./\n"}),
		"build failed at step 2/2: COPY nothing ./: nothing is not among the files; ")
	contains(c.T, deploy(map[string]string{"main.go": "package main", "go.mod": "module x\n\ngo 1.99\n"}),
		"build failed at step ", " of build: RUN go mod download")

	directory := filesIn(c.T, map[string]string{"main.py": "", "seen.db": ""})
	if err := os.Truncate(filepath.Join(directory, "seen.db"), 600<<20); err != nil {
		c.Fatal(err)
	}
	contains(c.T, c.fails(c.manager, 1, "deploy", directory), "more than the 512MiB",
		"most is in seen.db (600MiB): list what the image does not need in "+directory+"/.dockerignore")
	for _, s := range c.services() {
		if s.Name == "refused" {
			c.Errorf("there is a service %+v", s)
		}
	}
}

// walkthroughFolder has the walkthrough's spider.py, and in place of its Dockerfile
// what pip is to install.
func walkthroughDirectory(t *testing.T, queueHost string) string {
	t.Helper()
	directory := artifact.Spider(t, queueHost, password)
	err := errors.Join(os.Remove(filepath.Join(directory, "Dockerfile")),
		os.WriteFile(filepath.Join(directory, "requirements.txt"), []byte("redis\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return directory
}

// spiderFolder is a copy of a directory of testdata/spiders, which a test may write
// to.
func spiderDirectory(t *testing.T, name string) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(directory, os.DirFS("../../testdata/spiders/"+name)); err != nil {
		t.Fatal(err)
	}
	return directory
}

// filesIn makes a directory with the files given.
func filesIn(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// awaitOutput waits until a service has written all parts, to stdout or stderr.
func (c *cluster) awaitOutput(service string, parts ...string) {
	c.Helper()
	lab.WaitFor(c, patience, "output of "+service, func() error {
		r := c.manager.Exec(c.Context(), "crawlbox", "logs", service)
		if part := missing(r.Stdout+r.Stderr, parts); part != "" {
			return fmt.Errorf("no %q in %q", part, r.Stdout+r.Stderr)
		}
		return r.Err()
	})
}
