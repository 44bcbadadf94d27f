package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wrongAtOnce holds files in which more than one thing is wrong, and all of that.
var wrongAtOnce = []struct{ name, text, want string }{
	{
		"a typing error beside a bad value", `
services:
  a:
    imge: x
    deploy:
      replicas: x
`,
		`4: unknown key "services.a.imge" (did you mean "services.a.image"?)
6: services.a.deploy.replicas: must be a whole number from 0 to 20000, not "x"`,
	},
	{
		"every type", `
services:
  a:
    image: 5
    cap_add: NET_RAW
    command: {a: b}
    deploy:
      resources:
        limits:
          cpus: many
          memory: 64x
        reservations: [a]
      restart_policy: {delay: 5, max_attempts: -1}
      update_config:
        order: last
        max_failure_ratio: 1.5
      labels: nothing
    dns: [10.0.0.1, ns]
    entrypoint: "sh -c 'a"
    env_file: {}
    environment: [[a]]
    extra_hosts: [db]
    healthcheck:
      interval: 5
      test: [curl]
      timeout: 1us
    init: maybe
    logging:
      options: [a]
    stop_grace_period: -5s
    sysctls: 5
    tmpfs: run
    tty: 1
    ulimits:
      nofile: {soft: 1}
      nproc: 0.5
    user: 1000
    volumes:
    - type: bnd
      target: /a
    - /a:/b:ro:x
    working_dir: app
`,
		`4: services.a.image: must be the name of an image such as localhost:8003/spider:0.01, in lower case, not "5"
5: services.a.cap_add: must be a list, not "NET_RAW"
6: services.a.command: must be a list of arguments, or a command whose quotes end, not a mapping
10: services.a.deploy.resources.limits.cpus: must be a number of processors, 0.01 or more, not "many"
11: services.a.deploy.resources.limits.memory: must be a size such as 64M, 6MiB or more, which is the least that Docker takes, not "64x"
12: services.a.deploy.resources.reservations: must be a mapping of keys and values, not a list
13: services.a.deploy.restart_policy.delay: must be a duration such as 5s, not "5"
13: services.a.deploy.restart_policy.max_attempts: must be a whole number from 0 to 1000000, not "-1"
15: services.a.deploy.update_config.order: must be start-first or stop-first, not "last"
16: services.a.deploy.update_config.max_failure_ratio: must be a number from 0 to 1, not "1.5"
17: services.a.deploy.labels: must be a mapping, or a list of NAME=VALUE, not "nothing"
18: services.a.dns.1: must be an IP address, not "ns"
19: services.a.entrypoint: must be a list of arguments, or a command whose quotes end, not "sh -c 'a"
20: services.a.env_file: must be a list, not a mapping
21: services.a.environment.0: must be text such as NAME=VALUE, not a list
22: services.a.extra_hosts.0: must be HOST:ADDRESS such as db:10.0.0.7, not "db"
24: services.a.healthcheck.interval: must be a duration such as 5s, 1ms or more, not "5"
25: services.a.healthcheck.test: must begin with CMD, CMD-SHELL or NONE
26: services.a.healthcheck.timeout: must be a duration such as 5s, 1ms or more, not "1us"
27: services.a.init: must be true or false, not "maybe"
29: services.a.logging.options: must be a mapping of keys and values, not a list
30: services.a.stop_grace_period: must be a duration such as 5s, not "-5s"
31: services.a.sysctls: must be a mapping, or a list of NAME=VALUE, not "5"
32: services.a.tmpfs: the target "run" is not an absolute path
33: services.a.tty: must be true or false, not "1"
35: services.a.ulimits.nofile: must have both soft and hard
36: services.a.ulimits.nproc: must be a whole number, or -1 for no limit, not "0.5"
37: services.a.user: must be text (put a number in quotes), not "1000"
39: services.a.volumes.0.type: must be bind, volume or tmpfs, not "bnd"
41: services.a.volumes.1: must be a mount such as ./data:/data:ro or cache:/cache, not "/a:/b:ro:x"
42: services.a.working_dir: must be an absolute path, not "app"`,
	},
	{
		"several services, settings and definitions", `
registry:
  prt: 1
swarm: {heartbeat: 5}
services:
  "b.c": {image: i, scale: x}
  d: {image: i, volumes: ["cache:/c"], networks: [back], environment: {A: $NOBODY_SETS_IT}}
  e:
  f: {build: {context: ., secrets: [token]}, restart: always}
volumes: {other: {driver: 5}}
networks: [back]
secrets: {token: {file: a, environment: B}}
`,
		`3: unknown key "registry.prt" (did you mean "registry.port"?)
4: swarm.heartbeat: must be a duration such as 5s or 1m30s, not "5"
6: services.b.c.scale: must be a whole number from 0 to 20000, not "x"
6: "b.c" cannot name a service: use at most 63 letters, digits, - and _
7: services.d.volumes.0: there is no "cache" below volumes: at the top level; define it there, or begin a path with ./
7: services.d.networks.0: there is no "back" below networks: at the top level; define it there with ` + "`external: true`" + `
7: services.d.environment.A: the variable NOBODY_SETS_IT is not set: set it, or write ${NOBODY_SETS_IT:-DEFAULT}
8: services.e: must be a mapping with at least ` + "`image:` or `build:`" + `, not nothing
9: services.f.restart: use deploy.restart_policy
10: volumes.other.driver: must be text (put a number in quotes), not "5"
11: networks: must be a mapping with a name for each of the networks, not a list
12: secrets.token: must have either file or environment`,
	},
	{
		"values that are good one by one", `
services:
  a:
    image: i
    scale: 2
    network_mode: host
    networks: [n]
    imge: i
    deploy:
      mode: global-job
      replicas: 3
      update_config: {parallelism: 1}
      restart_policy:
        condition: any
      placement:
        max_replicas_per_node: 1
networks: {n: {external: true}}
`,
		`5: services.a.scale: it is 2, and deploy.replicas is 3; remove one of them
6: services.a.network_mode: it excludes networks; remove one of them
8: unknown key "services.a.imge" (did you mean "services.a.image"?)
10: services.a.deploy.mode: global-job runs one task on each node; remove replicas and scale
10: services.a.deploy.mode: a job is not updated in steps; remove update_config and rollback_config
14: services.a.deploy.restart_policy.condition: a job ends when its tasks have: use on-failure or none
16: services.a.deploy.placement.max_replicas_per_node: a global-job service has one task on each node; remove it`,
	},
	{
		"what Swarm and Docker refuse", `
services:
  a:
    image: i
    hostname: "{{.Nod.Hostname}}"
    environment:
      A: "{{ title }}"
      B: "{{.Task.Slot}} {{join .Node.ID}}"
    tmpfs: /a/
    volumes:
    - ./data:/a
    - ./data:/b
    - {type: bind, source: /x, target: /b}
    - {type: tmpfs, target: c, source: x}
    deploy:
      resources:
        limits: {memory: 5M, cpus: 0.001}
        reservations:
          memory: 3M
          cpus: 0.0001
      placement:
        constraints: [node.role=manager]
`,
		`5: services.a.hostname: a {{ here begins one of Swarm's templates, and this is none: write one such as {{.Node.Hostname}}, and {{"{{"}} for braces that are meant as they are
7: services.a.environment.A: a {{ here begins one of Swarm's templates, and this is none: write one such as {{.Node.Hostname}}, and {{"{{"}} for braces that are meant as they are
11: services.a.volumes.0: the mount in line 9 has the target "/a" too
13: services.a.volumes.2: the mount in line 12 has the target "/b" too
14: services.a.volumes.3: a tmpfs has no source
14: services.a.volumes.3: the target "c" is not an absolute path
17: services.a.deploy.resources.limits.memory: must be a size such as 64M, 6MiB or more, which is the least that Docker takes, not "5M"
17: services.a.deploy.resources.limits.cpus: must be a number of processors, 0.01 or more, not "0.001"
19: services.a.deploy.resources.reservations.memory: must be a size such as 64M, 4MiB or more, which is the least that Swarm takes, not "3M"
20: services.a.deploy.resources.reservations.cpus: must be a number of processors, 0.001 or more, not "0.0001"
22: services.a.deploy.placement.constraints.0: must be a constraint such as node.labels.disk==ssd, not "node.role=manager": it is not of the form KEY==VALUE or KEY!=VALUE`,
	},
	{
		"keys and merges", "a: 1\na: 2\nprune: 1\nnode: {<<: x, port: y}\n",
		"1: unknown key \"a\"\n2: duplicate key \"a\" (first in line 1)\n3: prune: must be true or false, not \"1\"\n" +
			"4: `<<` merges mappings only\n4: node.port: must be a port from 1 to 65535, not \"y\"",
	},
	{"YAML: indentation", "a:\n  b: 1\n c: 2\n", "2: not YAML: did not find expected key"},
	{"YAML: an anchor", "a: *b\n", "1: not YAML: unknown anchor 'b' referenced"},
	{"YAML: an open quote", "a: \"b\n", "2: not YAML: found unexpected end of stream"},
}

// TestLoad_NamesAll: of a file all is named that is wrong, each with the line of its own key.
func TestLoad_NamesAll(t *testing.T) {
	t.Parallel()
	for _, test := range wrongAtOnce {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, test.text, test.want) })
	}
}

// TestServices_Misplaced: a key that stands at the wrong place is told the right one.
func TestServices_Misplaced(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"replicas: 3":                          {"deploy.replicas"},
		"restart_policy: {condition: any}":     {"deploy.restart_policy"},
		"limits: {memory: 1G}":                 {"deploy.resources.limits"},
		"constraints: [node.role==worker]":     {"deploy.placement.constraints"},
		"order: stop-first":                    {"deploy.update_config.order", "deploy.rollback_config.order"},
		"context: .":                           {"build.context"},
		"deploy: {image: i}":                   {"image"},
		"deploy: {environment: {A: b}}":        {"environment"},
		"deploy: {cpus: 1}":                    {"deploy.resources.limits.cpus", "deploy.resources.reservations.cpus"},
		"deploy: {resources: {mode: global}}":  {"deploy.mode"},
		"imge: i":                              {"image"},
		"healthcheck: {retires: 3, test: [x]}": {"healthcheck.retries"},
	} {
		_, err := Load(file(t, service("image: i\n"+text)))
		for i, key := range want {
			want[i] = `"services.a.` + key + `"`
		}
		meant := "did you mean " + strings.Join(want, " or ") + "?"
		if err == nil || !strings.Contains(err.Error(), meant) {
			t.Errorf("%s: got %v, want %s", text, err, meant)
		}
	}
	_, err := Load(file(t, service("image: i\ndeploy.replicas: 3")))
	if want := `"services.a.deploy.replicas" (write it as keys below each other, without a dot)`; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(file(t, "max_size: 5\nport: 5\n"))
	if want := `"max_size" (did you mean "mirror.max_size"?)`; err == nil || !strings.Contains(err.Error(), want) ||
		!strings.HasSuffix(err.Error(), `unknown key "port"`) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestChecking: a check also says which directories are missing, whom a node does not need.
func TestChecking(t *testing.T) {
	t.Parallel()
	path := file(t, "services:\n  a:\n    build: ./nope\n  b:\n    build:\n      context: .\n      dockerfile: D\n"+
		"  c: {build: .}\n")
	if _, err := Load(path); err != nil {
		t.Errorf("a node that starts: %v", err)
	}
	dir := filepath.Dir(path)
	want := path + ":3: services.a.build.context: there is no directory " + dir + "/nope on this machine; relative " +
		"paths begin at " + dir + ", where the file is\n" +
		path + ":7: services.b.build.dockerfile: there is no file " + dir + "/D on this machine; relative " +
		"paths begin in build.context"
	if _, err := Load(path, Checking(nil)); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "D"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, Checking(nil)); err == nil || strings.Contains(err.Error(), "/D") {
		t.Errorf("got %v", err)
	}
}

// TestChecking_Queue: a check says which files with secrets are missing or bad, and tells of what does nothing.
func TestChecking_Queue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, secret string // what the file s has; empty: there is none
		wrong, odd   []string
	}{
		"nothing": {text: "queue: {safe: ['a:*', b], window: 1, max_deliveries: 2, linger: true}\n"},
		"no keys are safe": {
			text: "queue:\n  window: 16\n  max_deliveries: 5\n  linger: true\n  engine_port: 9\n",
			odd: []string{
				":2: queue.window: does nothing without queue.safe", ":3: queue.max_deliveries: does nothing",
				":4: queue.linger: does nothing", ":5: queue.engine_port: does nothing without queue.engine: valkey",
			},
		},
		"odd patterns": {
			text: "queue:\n  safe: [a, 'b c', d, a]\n",
			odd:  []string{`:2: queue.safe: "b c" is one pattern`, `:2: queue.safe: "a" is there twice`},
		},
		"no files": {
			text: "queue:\n  engine: url\n  url_file: s\n  password_file: s\n",
			wrong: []string{
				":3: queue.url_file: there is no file DIR/s on this machine",
				":4: queue.password_file: there is no file",
			},
		},
		"a bad URL in a file": {
			text: "queue:\n  engine: url\n  url_file: s\n", secret: "http://h",
			wrong: []string{":3: queue.url_file: DIR/s: must begin with redis://"},
		},
		"an empty password": {
			text: "queue:\n  password_file: s\n", secret: " \n",
			wrong: []string{":2: queue.password_file: DIR/s is empty"},
		},
		"good files":       {text: "queue:\n  engine: url\n  url_file: s\n", secret: "redis://h"},
		"the queue is off": {text: "queue: false\n"},
	} {
		path := file(t, tc.text)
		dir := filepath.Dir(path)
		if tc.secret != "" {
			if err := os.WriteFile(filepath.Join(dir, "s"), []byte(tc.secret), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(path); err != nil {
			t.Errorf("%s: a node that starts: %v", name, err)
		}
		var odd []string
		_, err := Load(path, Checking(func(err error) { odd = append(odd, err.Error()) }))
		var wrong []string
		if err != nil {
			wrong = strings.Split(err.Error(), "\n")
		}
		for what, lines := range map[string][2][]string{"wrong": {wrong, tc.wrong}, "odd": {odd, tc.odd}} {
			got, want := lines[0], lines[1]
			if len(got) != len(want) {
				t.Errorf("%s: %s is %q, want %q", name, what, got, want)
				continue
			}
			for i, line := range got {
				if !strings.HasPrefix(line, path+strings.ReplaceAll(want[i], "DIR", dir)) {
					t.Errorf("%s: %s is %q, want %q", name, what, line, want[i])
				}
			}
		}
	}
}
