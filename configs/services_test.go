package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

func TestServices_Read(t *testing.T) {
	t.Setenv("TAG", "0.02")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"crawlbox.yaml": `
x-base: &base
  image: spider:${TAG}
  working_dir: /app
services:
  zebra:
    <<: *base
    command: python3 spider.py --depth 3
  ant:
    <<: *base
    image: ant:1
    env_file: ant.env
    environment:
      Mixed_Case: "1"
      DAY: 2024-01-01
      PRICE: $$5
    volumes: ["./data:/data:ro", "cache:/cache"]
    networks: [back]
    scale: 4
    x-note: anything
networks:
  back: {external: true, name: backend}
volumes:
  cache: {driver_opts: {type: nfs}}
`, "ant.env": "FROM_FILE=yes\nMixed_Case=0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(filepath.Join(dir, "crawlbox.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ant, zebra := cfg.Services[0], cfg.Services[1]
	if ant.Name != "ant" || zebra.Name != "zebra" || ant.Line != 9 || ant.File != cfg.File {
		t.Errorf("names and place: %s, %s, line %d of %s", ant.Name, zebra.Name, ant.Line, ant.File)
	}
	if zebra.Compose.Image != "spider:0.02" || ant.Compose.Image != "ant:1" || ant.Compose.WorkingDir != "/app" {
		t.Errorf("merged: %q, %q in %q", zebra.Compose.Image, ant.Compose.Image, ant.Compose.WorkingDir)
	}
	if want := (types.ShellCommand{"python3", "spider.py", "--depth", "3"}); !reflect.DeepEqual(zebra.Compose.Command,
		want) {
		t.Errorf("command: %q", zebra.Compose.Command)
	}
	env := map[string]string{}
	for name, value := range ant.Compose.Environment {
		env[name] = *value
	}
	if want := map[string]string{
		"Mixed_Case": "1",
		"DAY":        "2024-01-01",
		"PRICE":      "$5",
		"FROM_FILE":  "yes",
	}; !reflect.DeepEqual(env, want) {
		t.Errorf("environment: %v", env)
	}
	if ant.Replicas() != 4 || zebra.Replicas() != 1 {
		t.Errorf("replicas: %d, %d", ant.Replicas(), zebra.Replicas())
	}
	if got := ant.Compose.Volumes[1].Source; got != filepath.Join(dir, "data") {
		t.Errorf("bind from %s", got)
	}
	if ant.Networks["back"].Name != "backend" || ant.Volumes["cache"].DriverOpts["type"] != "nfs" {
		t.Errorf("definitions: %+v, %+v", ant.Networks, ant.Volumes)
	}
	if want := []string{filepath.Join(dir, "ant.env")}; !slices.Equal(cfg.EnvFiles(), want) {
		t.Errorf("env files: %v", cfg.EnvFiles())
	}
}

// service indents a definition below services.a; its first line is line 3.
func service(text string) string {
	return "services:\n  a:\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

func TestServices_Wrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{
			"ports", service("image: i\nports: ['80:80']"),
			"4: services.a.ports: crawlbox services use the host's network; remove ports",
		},
		{
			"queue", service("image: i\ncommand: [sh, -c, 'x ${CRAWLBOX_QUEUE_URL}']"),
			"4: services.a.command.2: ${CRAWLBOX_QUEUE_URL} is for environment and env_file; a shell in the " +
				"container knows it as $$CRAWLBOX_QUEUE_URL",
		},
		{
			"queue in the build", service("image: localhost:8003/i\nbuild:\n  context: .\n  args: " +
				"[CRAWLBOX_QUEUE_URL]"),
			"6: services.a.build.args.0: ${CRAWLBOX_QUEUE_URL} is for environment and env_file; a " +
				"shell in the container knows it as $$CRAWLBOX_QUEUE_URL",
		},
		{
			"depends_on", service("image: i\ndepends_on: [b]"),
			"4: services.a.depends_on: Swarm does not order services; remove it, and let the program wait for what " +
				"it needs",
		},
		{
			"container_name", service("image: i\ncontainer_name: x"),
			"4: services.a.container_name: Swarm names tasks itself; remove it",
		},
		{"restart", service("image: i\nrestart: always"), "4: services.a.restart: use deploy.restart_policy"},
		{
			"extends", service("image: i\nextends: b"),
			"4: services.a.extends: crawlbox reads one file; use a YAML anchor and `<<`",
		},
		{
			"two refused", service("privileged: true\nimage: i\nipc: host"),
			"3: services.a.privileged: Swarm runs no privileged containers; use cap_add\n5: services.a.ipc: Swarm " +
				"gives each container its own; remove it",
		},
		{
			"typing error", service("image: i\nenviroment: {A: b}"),
			`4: unknown key "services.a.enviroment" (did you mean "services.a.environment"?)`,
		},
		{"typing error below deploy", service(
			"image: i\ndeploy:\n  replica: 3"),
			`5: unknown key "services.a.deploy.replica" (did you mean "services.a.deploy.replicas"?)`},
		{"refused in a list", service(
			"image: i\nvolumes:\n- /a:/a\n- type: bind\n  source: /b\n  target: /b\n  consistency: cached"),
			"9: services.a.volumes.1.consistency: it is for Docker Desktop; remove it"},
		{
			"wrong type", service("image: i\ndeploy:\n  replicas: many"),
			`5: services.a.deploy.replicas: must be a whole number from 0 to 20000, not "many"`,
		},
		{"list for a mapping", service("image: i\ndeploy: []"), `4: services.a.deploy: must be a mapping of keys and values, not a list`},
		{
			"no mapping", "services:\n  a: image\n",
			"2: services.a: must be a mapping with at least `image:` or `build:`, not \"image\"",
		},
		{"services is a list", "services: [a]\n", `1: services: must be a mapping with a name for each of the services, not a list`},
		{
			"no image", service("user: root"),
			"2: services.a: has no image: name one with `image:`, or a directory with `build:`",
		},
		{
			"bad image", service("image: Spider:1"),
			`3: services.a.image: must be the name of an image such as localhost:8003/spider:0.01, in lower case, not "Spider:1"`,
		},
		{
			"bad name", "services:\n  a.b: {image: i}\n",
			`2: "a.b" cannot name a service: use at most 63 letters, digits, - and _`,
		},
		{
			"unset variable", service("image: i\nenvironment:\n  A: ${CRAWLBOX_TEST_UNSET}"),
			`5: services.a.environment.A: the variable CRAWLBOX_TEST_UNSET is not set: set it, or write ${CRAWLBOX_TEST_UNSET:-DEFAULT}`,
		},
		{"unset in a default", service(
			"image: ${CRAWLBOX_TEST_UNSET:-$CRAWLBOX_TEST_OTHER}"),
			`3: services.a.image: the variable CRAWLBOX_TEST_OTHER is not set: set it, or write ${CRAWLBOX_TEST_OTHER:-DEFAULT}`},
		{
			"lone dollar", service("image: i\ncommand: [echo, '$5']"),
			"4: services.a.command.1: $ begins no variable: write $$ for a dollar sign",
		},
		{
			"missing env_file", service("image: i\nenv_file:\n- /nonexistent/a.env"),
			"5: services.a.env_file.0: there is no file /nonexistent/a.env; write `required: false` if that is meant",
		},
		{"env_file is a device", service(
			"image: i\nenv_file: /dev/zero"),
			"4: services.a.env_file.0: it cannot be read: /dev/zero is not a regular file"},
		{
			"network not made", service("image: i\nnetworks: [n]") + "networks:\n  n: {external: false}\n",
			"4: services.a.networks.n: crawlbox does not create networks; run `docker network create -d overlay " +
				"NAME` and mark it `external: true`",
		},
		{"network with a driver", service(
			"image: i") + "networks:\n  n: {driver: overlay}\n",
			"5: networks.n.driver: crawlbox does not create networks; run `docker network create -d overlay NAME` " +
				"and mark it `external: true`"},
		{
			"undefined network", service("image: i\nnetworks: [n]"),
			"4: services.a.networks.0: there is no \"n\" below networks: at the top level; define it there with " +
				"`external: true`",
		},
		{
			"undefined volume", service("image: i\nvolumes: ['vol:/v']"),
			`4: services.a.volumes.0: there is no "vol" below volumes: at the top level; define it there, or begin a path with ./`,
		},
		{"other network mode", service(
			"image: i\nnetwork_mode: bridge"),
			`4: services.a.network_mode: must be host, the only one; name others below networks, not "bridge"`},
		{
			"reserved label", service("image: i\ndeploy:\n  labels:\n    crawlbox.managed: me"),
			"6: services.a.deploy.labels.crawlbox.managed: crawlbox keeps labels that begin with crawlbox. for itself",
		},
		{"negative replicas", service(
			"image: i\ndeploy:\n  replicas: -1"), `5: services.a.deploy.replicas: must be a whole number from 0 to 20000, not "-1"`},
		{"replicas of a global", service(
			"image: i\nscale: 2\ndeploy:\n  mode: global"),
			"6: services.a.deploy.mode: global runs one task on each node; remove replicas and scale"},
		{
			"unknown mode", service("image: i\ndeploy: {mode: some}"),
			`4: services.a.deploy.mode: must be replicated, global, replicated-job or global-job, not "some"`,
		},
		{
			"constraint", service("image: i\ndeploy:\n  placement:\n    constraints:\n    - node.rol==b\n    - " +
				"node.role=worker"),
			"7: services.a.deploy.placement.constraints.0: must be a constraint such as node.labels.disk==ssd, not " +
				"\"node.rol==b\": its key is none of node.id, node.hostname, node.ip, node.role, node.platform.os, " +
				"node.platform.arch, node.labels.NAME and engine.labels.NAME\n" +
				`8: services.a.deploy.placement.constraints.1: must be a constraint such as node.labels.disk==ssd, not ` +
				"\"node.role=worker\": it is not of the form KEY==VALUE or KEY!=VALUE",
		},
		{"rollback of a rollback", service(
			"image: i\ndeploy:\n  rollback_config:\n    failure_action: rollback"),
			`6: services.a.deploy.rollback_config.failure_action: must be pause or continue, not "rollback"`},
		{
			"not a number", service("image: i\ndeploy:\n  update_config:\n    max_failure_ratio: NaN"),
			`6: services.a.deploy.update_config.max_failure_ratio: must be a number from 0 to 1, not "NaN"`,
		},
		{
			"ratio", service("image: i\ndeploy:\n  update_config:\n    max_failure_ratio: 2"),
			`6: services.a.deploy.update_config.max_failure_ratio: must be a number from 0 to 1, not "2"`,
		},
		{"YAML's not a number", service(
			"image: i\nstop_grace_period: .nan"), `4: services.a.stop_grace_period: .nan is not a number that can be used here`},
		{
			"SELinux", service("image: i\nvolumes: ['/a:/a:Z']"),
			"4: services.a.volumes.0: Swarm does not set SELinux labels; remove :z or :Z",
		},
		{
			"x-crawlbox", service("image: i\nx-crawlbox:\n  cron: daily"),
			`5: unknown key "services.a.x-crawlbox.cron"`,
		},
		{
			"two services", "services:\n  b: {}\n  a: {image: i, links: [b]}\n",
			"2: services.b: has no image: name one with `image:`, or a directory with `build:`\n3: services.a.links: " +
				"Swarm has no links; use the service's name on a shared network",
		},
		{"unused volume of a wrong type", service(
			"image: i") + "volumes:\n  vol:\n    driver: [a]\n", `6: volumes.vol.driver: must be text (put a number in quotes), not a list`},
		{"unused network of a wrong type", service(
			"image: i") + "networks:\n  n:\n    name: 5\n    external: true\n", `6: networks.n.name: must be text (put a number in quotes), not "5"`},
		{
			"tmpfs", service("image: i\ntmpfs:\n- /a:uid=5\n- run\n- /b:size=x\n- /c:mode=9"),
			"5: services.a.tmpfs.0: the tmpfs option \"uid\" is not in Swarm: use size, mode, ro or rw\n" +
				"6: services.a.tmpfs.1: the target \"run\" is not an absolute path\n" +
				"7: services.a.tmpfs.2: \"size=x\" is not a size like size=64m\n" +
				"8: services.a.tmpfs.3: \"mode=9\" is not a mode like mode=1777",
		},
		{"include", "include: [other.yaml]\n", "1: include: crawlbox reads one file; copy the services into it"},
	} {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, test.text, test.want) })
	}
}

// However a service writes it, it gets the definition it names.
func TestServices_References(t *testing.T) {
	t.Setenv("WHICH", "two")
	s := mustLoad(t, `
services:
  a:
    image: i
    volumes: ["one:/1", "${WHICH}:/2:ro", {type: volume, source: three, target: /3}, {type: volume, source: "${NONE:-four}", target: /4}]
    networks: ["${WHICH}", one]
  b: {image: i, networks: {one: {aliases: [x]}}}
volumes: {one: {driver: d}, two: {driver: d}, three: {driver: d}, four: {driver: d}, unused: {}}
networks: {one: {external: true}, two: {external: true}, unused: {external: true}}
`).Services
	for _, name := range []string{"one", "two", "three", "four"} {
		if s[0].Volumes[name].Driver != "d" {
			t.Errorf("volume %s: %+v", name, s[0].Volumes[name])
		}
	}
	if len(s[0].Volumes) != 4 || len(s[0].Networks) != 2 || len(s[1].Networks) != 1 {
		t.Errorf("%d volumes, %d and %d networks", len(s[0].Volumes), len(s[0].Networks), len(s[1].Networks))
	}
}

// The time must not be the product of services and definitions.
func TestServices_ManyOfBoth(t *testing.T) {
	t.Parallel()
	const many = 1000
	var text strings.Builder
	text.WriteString("services:\n")
	for i := range many {
		fmt.Fprintf(&text, "  s%d: {image: i, volumes: ['volume%d:/v']}\n", i, i)
	}
	text.WriteString("volumes:\n")
	for i := range many {
		fmt.Fprintf(&text, "  volume%d: {driver: local}\n", i)
	}
	start := time.Now()
	cfg := mustLoad(t, text.String())
	if len(cfg.Services) != many {
		t.Errorf("%d services", len(cfg.Services))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
}

func hashOf(t *testing.T, text string) string {
	t.Helper()
	return mustLoad(t, text).Services[0].Hash
}

func TestServices_Autoscale(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ rule, want string }{
		{"[x]", "5: AT: must be a mapping of keys and values, not a list"},
		{"{per_replica: 3, max: 3}", "5: AT.queue: is missing: name the key of the queue that is worked off"},
		{"{queue: k, max: 3}", "5: AT.per_replica: is missing: say how many items there are to be"},
		{"{queu: k, max: 3}", `5: unknown key "AT.queu" (did you mean "AT.queue"?)`},
		{"{queue: k, per_replica: 1}", "5: AT.max: is missing, or 0: say how many replicas there may " +
			"be, from 1 to 20000, such as 50"},
		{"{queue: k, empty_in: 1, max: 3}", "5: AT.empty_in: must be a duration such as 5s"},
		{"{queue: k, empty_in: 1s, max: 3}", "5: AT.empty_in: must be from 1m0s to 720h0m0s"},
		{"{queue: k, per_replica: 0, max: 3}", "5: AT.per_replica: must be 1 or more"},
		{"{queue: k, per_replica: x, max: 3}", "5: AT.per_replica: must be a whole number"},
		{"{queue: k, per_replica: 3, empty_in: 2h, max: 3}", "5: AT.empty_in: excludes per_replica"},
		{
			"\n    queue: k\n    per_replica: 1\n    min: 4\n    max: 3",
			"8: AT.min: is 4, more than max, which is 3",
		},
	} {
		rule, want := test.rule, strings.ReplaceAll(test.want, "AT", "services.a.x-crawlbox.autoscale")
		_, err := Load(file(t, service("image: i\nx-crawlbox:\n  autoscale: "+rule)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", rule, err, want)
		}
	}
	for _, mode := range []string{"global", "replicated-job", "global-job"} {
		_, err := Load(file(t, service("image: i\ndeploy: {mode: "+mode+"}\nx-crawlbox:\n  autoscale: "+
			"{queue: k, per_replica: 1, max: 3}")))
		if err == nil || !strings.Contains(err.Error(), "a "+mode+" service has no number of replicas") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	is := mustLoad(t, service("image: i\nx-crawlbox: {autoscale: {queue: k, empty_in: 1h30m, min: 2, max: '7'}}"))
	want := scalerule.Rule{Queue: "k", EmptyIn: 90 * time.Minute, Min: 2, Max: 7}
	if got := is.Services[0].Autoscale; got == nil || *got != want {
		t.Errorf("got %+v", got)
	}
}

func TestHash_Stable(t *testing.T) {
	t.Parallel()
	base := hashOf(t, service("image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}\ndeploy: {replicas: 2}"))
	for name, text := range map[string]string{
		"order, comments, other syntax": "# c\n\n" + service(
			"scale: 2\nenvironment:\n- Y=2 # why\n- X=1\ncap_add: [A, B]\nimage: \"i\""),
		"an anchor": "x-e: &e {X: '1', Y: '2'}\n" + service(
			"image: i\ncap_add: [A, B]\nenvironment: {<<: *e}\ndeploy: {replicas: 2}"),
		"another service": service("image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}\ndeploy: {replicas: 2}") +
			"  b: {image: i}\n",
		"an extension": service("x-a: b\nimage: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}\ndeploy: " +
			"{replicas: 2}"),
	} {
		if got := hashOf(t, text); got != base {
			t.Errorf("%s changes the hash", name)
		}
	}
	for name, text := range map[string]string{
		"a value": service("image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '3'}\ndeploy: {replicas: 2}"),
		"a name": strings.Replace(service(
			"image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}\ndeploy: {replicas: 2}"), "a:", "b:", 1),
		"a key": service("image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}"),
		"a rule": service("image: i\ncap_add: [B, A]\nenvironment: {X: '1', Y: '2'}\ndeploy: {replicas: 2}\n" +
			"x-crawlbox: {autoscale: {queue: k, per_replica: 1, max: 1}}"),
	} {
		if got := hashOf(t, text); got == base {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

// An upgrade of compose-go that changes this restarts every service of every
// user once: that has to be wanted.
func TestHash_Golden(t *testing.T) {
	t.Parallel()
	const want = "df974aa45fdf6f58b55df2ca2a2954246c983b52571d36cb57558006ddf023f5"
	if got := hashOf(t, service("image: i\ncommand: [a]\nenvironment: {X: '1'}\ndeploy: {replicas: 2}")); got != want {
		t.Errorf("got %s", got)
	}
}

func TestHash_EnvFileContent(t *testing.T) {
	t.Parallel()
	path := file(t, service("image: i\nenv_file: a.env"))
	env := filepath.Join(filepath.Dir(path), "a.env")
	var hashes []string
	for _, content := range []string{"A=1\n", "A=2\n", "A=1\n# c\n"} {
		if err := os.WriteFile(env, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, cfg.Services[0].Hash)
	}
	if hashes[0] == hashes[1] || hashes[0] != hashes[2] {
		t.Errorf("hashes: %q", hashes)
	}
}

func TestBuild_IsKept(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, service("build: ./spider")).Services[0]
	if s.Compose.Build == nil {
		t.Fatal("build is lost")
	}
	if got, want := s.Errorf("build", "no").Error(), s.File+":3: services.a.build: no"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
