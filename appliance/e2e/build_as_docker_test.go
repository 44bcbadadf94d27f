package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// listing shows the files that a Dockerfile with it copies, with their types, modes and links.
const listing = "COPY . /app\nRUN cd /app || exit 0; find . -mindepth 1 -printf '%y %m %l %P\\n' | LC_ALL=C sort | " +
	"cat -v >/said; cat /said\n"

// asDocker is a directory, of which crawlbox has to make the image that docker build makes.
type asDocker struct {
	files  map[string]string
	make   func(dir string) error // more than plain files
	flags  []string               // that both have
	env    []string               // for both
	config string                 // of ~/.docker/config.json
	want   string                 // what the image says, both of docker's and of crawlbox's
	// what it says with the classic builder, where that keeps less
	classic string
	// what docker's says with it, where docker reads less than with BuildKit
	classicDockers string
}

var builtAsDocker = map[string]asDocker{
	"a plain directory": {
		files: map[string]string{"Dockerfile": listing, "a/b": "", ".git/HEAD": ""},
		want:  "d 755  .git|d 755  a|f 644  .git/HEAD|f 644  Dockerfile|f 644  a/b",
	},
	"dockerignore": {
		files: map[string]string{
			"Dockerfile": listing, ".dockerignore": "\ufeff# no\n*.log\ndata\n!data/keep\n", "x.log": "", "data/x": "",
			"data/keep": "",
		},
		want: "d 755  data|f 644  .dockerignore|f 644  Dockerfile|f 644  data/keep",
	},
	"all but the Dockerfile is ignored": {
		files: map[string]string{"Dockerfile": listing, ".dockerignore": "*\n!Dockerfile\n", "x": ""},
		want:  "f 644  Dockerfile",
	},
	"the Dockerfile too": {
		files: map[string]string{"Dockerfile": listing, ".dockerignore": "*\n", "x": ""},
	},
	"a list beside the Dockerfile": {
		files: map[string]string{
			"docker/D": listing, "docker/D.dockerignore": ".env\ndata\n", ".dockerignore": "docs\n", ".env": "",
			"data/x": "", "docs/x": "",
		},
		flags: []string{"-f", "docker/D"},
		want: "d 755  docker|d 755  docs|f 644  .dockerignore|f 644  docker/D|f 644  docker/D.dockerignore|" +
			"f 644  docs/x",
		classicDockers: "d 755  data|d 755  docker|f 644  .dockerignore|f 644  .env|f 644  data/x|f 644  docker/D|" +
			"f 644  docker/D.dockerignore",
	},
	"a Dockerfile from elsewhere": {
		files: map[string]string{"x": "", ".env": "", "../other/D": listing, "../other/D.dockerignore": ".env\n"},
		flags: []string{"-f", "../other/D"},
		want:  "f 644  x",
		// Beside them goes the Dockerfile, under a name by chance that .dockerignore lists.
		classicDockers: "f 644  .env|f 644  x",
	},
	"names of all kinds": {
		files: map[string]string{
			"Dockerfile": listing, "caf\xe9.html": "", "two\nlines": "", strings.Repeat("n", 250): "", "-rf": "",
			`back\slash`: "", "a b": "", "*": "", "\u202eabc": "",
		},
		want: "f 644  *|f 644  -rf|f 644  Dockerfile|f 644  a b|f 644  back\\slash|f 644  cafM-i.html|f 644  " +
			strings.Repeat("n", 250) + "|f 644  two|f 644  M-bM-^@M-.abc|lines",
	},
	"files of all kinds": {
		files: map[string]string{"Dockerfile": listing, "private": "", "setuid": "", "sticky/x": "", "socket/x": ""},
		make: func(dir string) error {
			at := func(name string) string { return filepath.Join(dir, name) }
			socket, err := net.Listen("unix", at("socket/s"))
			if err != nil {
				return err
			}
			socket.(*net.UnixListener).SetUnlinkOnClose(false)
			socket.Close()
			return errors.Join(os.Symlink("/etc", at("etc")), os.Symlink("gone", at("link")),
				os.Mkdir(at("empty"), 0o700),
				os.Chmod(at("setuid"), 0o755|fs.ModeSetuid), os.Chmod(at("sticky"), 0o777|fs.ModeSticky),
				os.Chmod(at("private"), 0o600), unix.Mkfifo(at("pipe"), 0o600),
				unix.Mknod(at("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		},
		want: "d 1777  sticky|d 700  empty|d 755  socket|f 4755  setuid|f 600  null|f 600  private|f 644  Dockerfile|" +
			"f 644  socket/x|f 644  sticky/x|l 777 /etc etc|l 777 gone link",
		classic: "c 600  null|d 1777  sticky|d 700  empty|d 755  socket|f 600  private|f 644  Dockerfile|" +
			"f 644  socket/x|f 644  sticky/x|f 755  setuid|l 777 /etc etc|l 777 gone link|p 600  pipe",
	},
	"capabilities": {
		files: map[string]string{"Dockerfile": "COPY ping /bin/ping2\nRUN python3 -c \"import os; " +
			"print(os.getxattr('/bin/ping2', 'security.capability').hex())\" >/said; cat /said\n", "ping": ""},
		make: func(dir string) error {
			may := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
			return unix.Setxattr(filepath.Join(dir, "ping"), "security.capability", may, 0)
		},
		want:    "0100000200200000000000000000000000000000",
		classic: " ",
	},
	"arguments, stages and a target": {
		files: map[string]string{"Dockerfile": "ARG A=1\nARG B\nRUN echo $A$B >/said\nFROM spiders:lab AS other\n" +
			"RUN echo other >/said\n"},
		flags: []string{"--build-arg", "A=2", "--build-arg", "B", "--target", "first"},
		env:   []string{"B=3"},
		want:  "23",
	},
	"a dockerfile in small letters": {
		files: map[string]string{"dockerfile": listing},
		want:  "f 644  dockerfile",
	},
	"proxies": {
		files: map[string]string{"Dockerfile": "RUN echo $http_proxy $HTTPS_PROXY $no_proxy >/said\n"},
		config: `{"proxies":{"default":{"httpProxy":"http://10.9.9.9:3128","httpsProxy":"http://10.9.9.9:3129",` +
			`"noProxy":"localhost"}}}`,
		// BuildKit takes either spelling, as a map has them.
		flags: []string{"--build-arg", "no_proxy=example.com", "--build-arg", "NO_PROXY=example.com"},
		want:  "http://10.9.9.9:3128 http://10.9.9.9:3129 example.com",
	},
}

// TestBuildAsDocker builds directories with docker build and with crawlbox, with both builders
// each, and compares what the images hold. Where the docker command here has no BuildKit of its
// own the table alone says what it would hold.
func TestBuildAsDocker(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	c.manager.LoadSpidersBase()
	for name, row := range builtAsDocker {
		t.Run(name, func(t *testing.T) { c.sub(t).buildAsDocker(row) })
	}
	t.Run("login", func(t *testing.T) { c.sub(t).buildWithLogin() })
	t.Run("syntax", func(t *testing.T) { c.sub(t).buildWithSyntax() })
}

func (c *cluster) buildAsDocker(row asDocker) {
	dir := c.layOut(row)
	config := c.TempDir()
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(row.config), 0o600); err != nil {
		c.Fatal(err)
	}
	if row.config == "" {
		_ = os.Remove(filepath.Join(config, "config.json"))
	}
	in := append([]string{"env", "--chdir=" + dir, "DOCKER_CONFIG=" + config}, row.env...)
	for builder, kit := range map[string]string{image.Classic: "0", image.BuildKit: "1"} {
		r := c.manager.Exec(c.Context(), append(append(in[:len(in):len(in)], "crawlbox", "build", "--name", "ours",
			"--builder", builder), row.flags...)...)
		if r.Code != 0 {
			c.Errorf("%s: crawlbox build fails: %s%s", builder, r.Stdout, r.Stderr)
			continue
		}
		built, _, _ := strings.Cut(r.Stdout[strings.LastIndex(r.Stdout, "built ")+len("built "):], " ")
		want := row.want
		if builder == image.Classic && row.classic != "" {
			want = strings.TrimSpace(row.classic)
		}
		if got := c.saidBy(built); got != want {
			c.Errorf("%s: crawlbox makes\n%q, want\n%q", builder, got, want)
		}
		docker := append(append(in[:len(in):len(in)], "DOCKER_BUILDKIT="+kit, "/usr/bin/docker", "build", "--network",
			"host", "--tag", "theirs"), row.flags...)
		r = c.manager.Exec(c.Context(), append(docker, ".")...)
		if r.Code != 0 && strings.Contains(r.Stderr, "buildx") {
			c.Log("the docker command here has no BuildKit")
			continue
		}
		if r.Code != 0 {
			c.Errorf("%s: docker build fails: %s%s", builder, r.Stdout, r.Stderr)
			continue
		}
		if builder == image.Classic && row.classicDockers != "" {
			want = row.classicDockers
		}
		// Docker's BuildKit makes an empty file of a socket.
		if got := strings.Replace(c.saidBy("theirs"), "f 755  socket/s|", "", 1); got != want {
			c.Errorf("%s: docker build makes\n%q, and the table says\n%q", builder, got, want)
		}
	}
}

// layOut makes the directory of a row, one below another that the row may reach too.
func (c *cluster) layOut(row asDocker) (dir string) {
	dir = filepath.Join(c.TempDir(), "spider")
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.Fatal(err)
	}
	for name, text := range row.files {
		if base := filepath.Base(name); text != "" && !strings.HasSuffix(base, "dockerignore") {
			text = "FROM spiders:lab AS first\n" + text
		}
		path := filepath.Join(dir, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
		if err != nil {
			c.Fatal(err)
		}
	}
	if row.make != nil {
		if err := row.make(dir); err != nil {
			c.Fatal(err)
		}
	}
	return dir
}

// saidBy returns what a build wrote into its image, with a bar in place of line feeds.
func (c *cluster) saidBy(image string) string {
	c.Helper()
	said := c.manager.Docker("run", "--rm", "--network", "none", image, "sh", "-c", "cat /said || echo no files")
	return strings.ReplaceAll(strings.TrimSuffix(said, "\n"), "\n", "|")
}

// buildWithLogin builds of a registry that wants a login, with that of the user, from a file and
// from a helper, and is told what to do without.
func (c *cluster) buildWithLogin() {
	hub := startHub(c.T, c.lab.AddHost(), c.manager)
	hub.push(hub.name + "/base:1")
	hub.shut.Store(true)
	c.manager.StopDocker() // BuildKit reads as it starts whom it trusts
	c.manager.StartDocker()
	c.awaitReady(1)
	config := c.TempDir()
	dir := filesIn(c.T, map[string]string{"Dockerfile": "FROM " + hub.name + "/base:1\nLABEL a=b\n"})
	build := func(config string, args ...string) lab.Result {
		return c.manager.Exec(c.Context(), append([]string{
			"env", "DOCKER_CONFIG=" + config, "sh", "-c", `PATH=$DOCKER_CONFIG:$PATH; exec crawlbox "$@"`, "sh", "build", dir,
			"--name", "private", "--no-cache",
		}, args...)...)
	}
	for _, builder := range []string{image.BuildKit, image.Classic} {
		if r := build(config, "--builder", builder); r.Code != 1 {
			c.Errorf("%s builds without a login: %s", builder, r.Stdout)
		} else {
			contains(c.T, r.Stderr, "FROM "+hub.name+"/base:1: its registry wants a login (",
				"run `docker login "+hub.name+"` on this machine as the user who deploys")
		}
	}
	for name, text := range map[string]string{
		"file":   `{"auths":{"` + hub.name + `":{"auth":"Y2k6aHVzaA=="}}}`,
		"helper": `{"credHelpers":{"` + hub.name + `":"lab"}}`,
	} {
		config := filepath.Join(config, name)
		helper := "#!/bin/sh\necho '{\"Username\":\"ci\",\"Secret\":\"hush\"}'\n"
		if err := errors.Join(os.Mkdir(config, 0o755),
			os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600),
			os.WriteFile(filepath.Join(config, "docker-credential-lab"), []byte(helper), 0o755)); err != nil {
			c.Fatal(err)
		}
		for _, builder := range []string{image.BuildKit, image.Classic} {
			c.manager.Exec(c.Context(), "docker", "image", "rm", hub.name+"/base:1")
			if r := build(config, "--builder", builder, "--pull"); r.Code != 0 {
				c.Errorf("%s with the login of a %s: %s%s", builder, name, r.Stdout, r.Stderr)
			}
		}
	}
	said := c.agents[c.manager].Logs()
	if strings.Contains(said, "hush") {
		c.Errorf("the log has the password: %s", said)
	}
	if r := c.manager.Exec(c.Context(), "grep", "-rlF", "hush", dataDir, "/var/log"); r.Stdout != "" {
		c.Errorf("the password is in %s", r.Stdout)
	}
}

// buildWithSyntax wants a frontend that can't be fetched, which BuildKit alone needs.
func (c *cluster) buildWithSyntax() {
	dir := filesIn(c.T, map[string]string{"Dockerfile": "# syntax=docker/dockerfile:1\nFROM spiders:lab\n"})
	contains(c.T, c.fails(c.manager, 1, "build", dir, "--name", "syntax", "--builder", image.BuildKit),
		"build failed at # syntax = docker/dockerfile:1: what reads the Dockerfile could not be fetched (",
		"; take that line out, which newer Docker Engines do not need, or bring the image to this machine")
	contains(c.T, c.run("build", dir, "--name", "syntax", "--builder", image.Classic),
		"built localhost:8003/syntax:0.01")
	for flag, way := range map[string]string{
		"--ssh": "--secret", "--build-context": "into the directory", "--cache-from": "keeps the cache",
	} {
		contains(c.T, c.fails(c.manager, 2, "build", dir, flag, "x"),
			fmt.Sprintf("%s of docker build is not offered: ", flag),
			way)
	}
}
