package configs

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/crawlbox/crawlbox/configs/compose"
)

func TestBuild(t *testing.T) {
	t.Setenv("TOKEN", "hush")
	path := file(t, `
services:
  short: {build: ./spider}
  Full:
    image: localhost:8003/team/spider:1.2
    build:
      context: .
      dockerfile: docker/Dockerfile
      args: {A: "1", TOKEN: , NOWHERE_SET: }
      target: last
      platforms: [linux/arm64]
      secrets: [npm, {source: key, target: id}]
      no_cache: true
      pull: true
  plain: {image: i}
secrets:
  npm: {environment: NPM_TOKEN}
  key: {file: ./key}
`)
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for i, want := range []compose.Build{
		{
			Context:    dir,
			Dockerfile: "docker/Dockerfile",
			Args:       map[string]string{"A": "1", "TOKEN": "hush"},
			Target:     "last",
			Platform:   "linux/arm64",
			Secrets:    []string{"id=npm,env=NPM_TOKEN", "id=id,src=" + dir + "/key"},
			NoCache:    true,
			Pull:       true,
			Repository: "team/spider",
			Tag:        "1.2",
		},
		{},
		{Context: dir + "/spider", Args: map[string]string{}, Repository: "short"},
	} {
		s := cfg.Services[i]
		got, ok := s.Build()
		if ok != (s.Name != "plain") || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", s.Name, got, want)
		}
	}
	shown, err := Show(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(path, shown); err != nil || again.Services[0].Hash != cfg.Services[0].Hash {
		t.Errorf("what is shown reads back with %v", err)
	}
}

// How an image is made takes effect when it is made, so it is no change of the
// service.
func TestBuild_IsNoPartOfTheHash(t *testing.T) {
	t.Parallel()
	if hashOf(t, service("build: .")) != hashOf(t, service("build: {context: ./other, args: {A: b}}")) {
		t.Error("the build changes the hash")
	}
}

func TestBuild_Wrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"a repository of others", service(
			"build: https://example.org/spider.git"),
			`3: services.a.build.context: "https://example.org/spider.git" is not a directory on this machine`},
		{
			"two platforms", service("build: {context: ., platforms: [linux/amd64, linux/arm64]}"),
			"3: services.a.build.platforms.1: an image is built for one platform",
		},
		{"a key that is not honoured", service(
			"build: {context: ., ssh: [default]}"),
			"3: services.a.build.ssh: builds get no SSH agent; give the key as one of build.secrets"},
		{
			"a typing error", service("build:\n  contxt: ."),
			`4: unknown key "services.a.build.contxt" (did you mean "services.a.build.context"?)`,
		},
		{
			"another registry", service("build: .\nimage: spider"),
			"4: services.a.image: what is built goes into the cluster's registry: write localhost:8003/a, or " +
				"leave it out",
		},
		{"an unknown secret", service(
			"build: {context: ., secrets: [s]}"), `3: services.a.build.secrets.0: there is no "s" below secrets: at the top level; define it there with a file or an environment`},
		{"a secret of Swarm", service(
			"build: .") + "secrets:\n  s: {external: true}\n",
			"5: secrets.s.external: crawlbox does not manage Swarm's secrets and configs; use env_file, or " +
				"bind a file"},
	} {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, test.text, test.want) })
	}
}
