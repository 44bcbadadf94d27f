package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

const configFile = "/etc/crawlbox/crawlbox.yaml"

// everyKey is a service with every key that crawlbox takes.
const everyKey = `
networks:
  backend: {external: true}
volumes:
  cache:
    labels: {of: spider}
services:
  full:
    image: localhost:8003/a:1
    entrypoint: [/tiny]
    command: [one, "two words"]
    environment: {MIXEDcase: "yes", COUNT: 3, TAKEN_AWAY: null}
    env_file: [full.env, {path: missing.env, required: false}]
    hostname: spider
    working_dir: /work
    user: "1000:1000"
    group_add: ["2000"]
    labels: {team: crawl}
    init: true
    stop_grace_period: 3s
    stop_signal: SIGTERM
    tty: true
    stdin_open: true
    read_only: true
    network_mode: host
    extra_hosts: ["db:192.0.2.7"]
    dns: [192.0.2.8]
    dns_search: [example.org]
    dns_opt: ["ndots:1"]
    sysctls: {kernel.msgmax: "9000"}
    cap_add: [NET_RAW]
    cap_drop: [CHOWN]
    ulimits: {nofile: {soft: 500, hard: 900}, nproc: 700}
    tmpfs: ["/scratch:size=1m,mode=1777"]
    volumes:
      - /var/lib/home:/home:ro
      - cache:/cache
      - {type: tmpfs, target: /fast, tmpfs: {size: 2m, mode: 0o700}}
      - {type: bind, source: /var/lib/home, target: /shared, bind: {propagation: rprivate}}
      - {type: volume, source: cache, target: /again, volume: {nocopy: true}}
    healthcheck: {test: [CMD, /sbin/docker-init, --version], interval: 2s, timeout: 30s, retries: 2, start_period: 1s}
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    deploy:
      mode: replicated
      replicas: 2
      endpoint_mode: dnsrr
      labels: {owner: me}
      resources:
        limits: {cpus: "0.5", memory: 64M, pids: 50}
        reservations: {cpus: "0.1", memory: 8M}
      restart_policy: {condition: any, delay: 1s, max_attempts: 4, window: 30s}
      update_config: {parallelism: 2, delay: 1s, failure_action: pause, monitor: 2s, max_failure_ratio: 0.25, order: stop-first}
      rollback_config: {parallelism: 0, delay: 2s, failure_action: continue, monitor: 1s, max_failure_ratio: 0.5, order: stop-first}
      placement:
        constraints: [node.platform.os==linux]
        preferences: [{spread: node.labels.rack}]
        max_replicas_per_node: 1
  everywhere:
    image: localhost:8003/a:1
    deploy: {mode: global}
  once:
    image: localhost:8003/a:1
    environment: {TINY_EXIT: 0}
    deploy: {mode: replicated-job, replicas: 2}
  once_everywhere:
    image: localhost:8003/a:1
    environment: {TINY_EXIT: 0}
    deploy: {mode: global-job}
  networked:
    image: localhost:8003/a:1
    scale: 0
    healthcheck: {disable: true}
    networks: {backend: {aliases: [spider]}}
`

// everyKeyMeans is what Docker has to say of the service full.
const everyKeyMeans = `{
  "Name": "full",
  "Labels": {"owner": "me", "crawlbox.managed": "config"},
  "Mode": {"Replicated": {"Replicas": 2}},
  "EndpointSpec": {"Mode": "dnsrr"},
  "UpdateConfig": {"Parallelism": 2, "Delay": 1e9, "FailureAction": "pause", "Monitor": 2e9, "MaxFailureRatio": 0.25, "Order": "stop-first"},
  "RollbackConfig": {"Parallelism": 0, "Delay": 2e9, "FailureAction": "continue", "Monitor": 1e9, "MaxFailureRatio": 0.5, "Order": "stop-first"},
  "TaskTemplate": {
    "Networks": [{}],
    "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m", "max-file": "2"}},
    "Resources": {
      "Limits": {"NanoCPUs": 500000000, "MemoryBytes": 67108864, "Pids": 50},
      "Reservations": {"NanoCPUs": 100000000, "MemoryBytes": 8388608}
    },
    "RestartPolicy": {"Condition": "any", "Delay": 1e9, "MaxAttempts": 4, "Window": 3e10},
    "Placement": {"Constraints": ["node.platform.os==linux"], "MaxReplicas": 1,
      "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.rack"}}]},
    "ContainerSpec": {
      "Command": ["/tiny"], "Args": ["one", "two words"],
      "Env": ["COUNT=3", "FROM_FILE=it is", "MIXEDcase=yes", "TAKEN_AWAY"],
      "Hostname": "spider", "Dir": "/work", "User": "1000:1000", "Groups": ["2000"],
      "Labels": {"team": "crawl"}, "Init": true, "StopGracePeriod": 3e9, "StopSignal": "SIGTERM",
      "TTY": true, "OpenStdin": true, "ReadOnly": true,
      "Hosts": ["192.0.2.7 db"],
      "DNSConfig": {"Nameservers": ["192.0.2.8"], "Search": ["example.org"], "Options": ["ndots:1"]},
      "Sysctls": {"kernel.msgmax": "9000"},
      "CapabilityAdd": ["NET_RAW"], "CapabilityDrop": ["CHOWN"],
      "Ulimits": [{"Name": "nofile", "Soft": 500, "Hard": 900}, {"Name": "nproc", "Soft": 700, "Hard": 700}],
      "Healthcheck": {"Test": ["CMD", "/sbin/docker-init", "--version"], "Interval": 2e9, "Timeout": 30e9, "Retries": 2, "StartPeriod": 1e9},
      "Mounts": [
        {"Type": "volume", "Source": "cache", "Target": "/again", "VolumeOptions": {"NoCopy": true, "Labels": {"of": "spider"}}},
        {"Type": "volume", "Source": "cache", "Target": "/cache", "VolumeOptions": {"Labels": {"of": "spider"}}},
        {"Type": "tmpfs", "Target": "/fast", "TmpfsOptions": {"SizeBytes": 2097152, "Mode": 448}},
        {"Type": "bind", "Source": "/var/lib/home", "Target": "/home", "ReadOnly": true},
        {"Type": "bind", "Source": "/var/lib/home", "Target": "/shared", "BindOptions": {"Propagation": "rprivate"}},
        {"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 1023}}
      ]
    }
  }
}`

// TestConfigServices runs what the config file says, as it is written, changed
// and broken.
func TestConfigServices(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	c.push("localhost:8003/a:1")
	t.Run("every key is taken by Docker", func(t *testing.T) { c.sub(t).everyKey() })
	t.Run("the file changes", func(t *testing.T) { c.sub(t).fileChanges() })
	t.Run("an image comes later", func(t *testing.T) { c.sub(t).imageComesLater() })
	t.Run("spiders that end are updated", func(t *testing.T) { c.sub(t).endingIsNoFailure() })
	t.Run("a restart changes nothing", func(t *testing.T) { c.sub(t).restartChangesNothing() })
	t.Run("the file is broken", func(t *testing.T) { c.sub(t).fileBreaks() })
	t.Run("a service leaves the file", func(t *testing.T) { c.sub(t).serviceLeaves() })
}

// everyKey gives a real engine all that a definition can say.
func (c *cluster) everyKey() {
	c.manager.Docker("network", "create", "--driver", "overlay", "backend")
	c.manager.WriteFile("/etc/crawlbox/full.env", "FROM_FILE=it is\n")
	c.configure(everyKey)
	c.awaitServices("everywhere", "full", "networked", "once", "once_everywhere")
	c.awaitRunning("full", 2)
	var meant any
	if err := json.Unmarshal([]byte(everyKeyMeans), &meant); err != nil {
		c.Fatal(err)
	}
	for _, d := range differences("full", meant, c.spec("full")) {
		c.Error(d)
	}
	image, _ := at(c.spec("full"), "TaskTemplate", "ContainerSpec", "Image").(string)
	if !strings.HasPrefix(image, "localhost:8003/a:1@sha256:") {
		c.Errorf("the image is not pinned: %q", image)
	}
	c.awaitSpread("everywhere", 2)
	c.awaitComplete("once", "localhost:8003/a:1", 2)
	c.awaitComplete("once_everywhere", "localhost:8003/a:1", 2)
	lab.WaitFor(c, patience, "a plan that finds nothing to do", func() error {
		return want(c.run("deploy", "--dry-run"),
			"unchanged everywhere\nunchanged full\nunchanged networked\nunchanged once\nunchanged once_everywhere")
	})
	if text := fmt.Sprint(at(c.spec("networked"), "TaskTemplate", "Networks")); !strings.Contains(text,
		"Aliases:[spider]") {
		c.Errorf("the networks of networked are %s", text)
	}
}

// twoServices is a config whose services tell which version of it they are from.
func twoServices(spider, other string, replicas int) string {
	return fmt.Sprintf(`prune: true
services:
  spider:
    image: localhost:8003/a:1
    environment: {VERSION: %q}
    deploy: {replicas: %d}
  other:
    image: localhost:8003/a:1
    environment: {VERSION: %q}
`, spider, replicas, other)
}

// fileChanges shows that a changed definition is applied, and that what a
// person scaled stays until the file says another number.
func (c *cluster) fileChanges() {
	c.configure(twoServices("1", "1", 2))
	c.awaitServices("other", "spider")
	c.awaitRunning("spider", 2)

	c.run("scale", "spider=3")
	scaled := c.version("spider")
	c.configure(twoServices("1", "2", 2))
	c.awaitSpec("other", "2", 1)
	if now := c.version("spider"); now != scaled {
		c.Errorf("spider was changed, from version %s to %s, though its definition was not", scaled, now)
	}
	c.configure(twoServices("2", "2", 2))
	c.awaitSpec("spider", "2", 3)
	c.configure(twoServices("2", "2", 1))
	c.awaitSpec("spider", "2", 1)
	c.awaitRunning("spider", 1)
}

// imageComesLater starts a service once its image is pushed, pinned as others.
func (c *cluster) imageComesLater() {
	c.configure(twoServices("2", "2", 1) + ending("localhost:8003/late:1"))
	lab.WaitFor(c, patience, "a problem in the status", func() error {
		if p := missing(c.run("status"),
			[]string{"create service ending", "no image localhost:8003/late:1", "once that is pushed"}); p != "" {
			return fmt.Errorf("the status does not say %q", p)
		}
		return nil
	})
	c.push("localhost:8003/late:1")
	c.awaitServices("ending", "other", "spider")
	c.awaitComplete("ending", "localhost:8003/late:1", 4)
}

// ending is a service whose tasks are done at once, as those of spiders whose
// queue is empty.
func ending(image string) string {
	return fmt.Sprintf("  ending:\n    image: %s\n    environment: {TINY_EXIT: 0}\n    deploy: {replicas: 4, "+
		"update_config: {monitor: 1s}}\n", image)
}

// endingIsNoFailure holds against Swarm, which takes any end of a task for a
// failure while it watches an update, and would roll these back.
func (c *cluster) endingIsNoFailure() {
	c.configure(twoServices("2", "2", 1) + ending("localhost:8003/a:1"))
	c.awaitComplete("ending", "localhost:8003/a:1", 4)
	lab.WaitFor(c, patience, "the end of the change from the config", func() error {
		return want(fmt.Sprint(c.past("ending")[0].Result), "done")
	})
	c.run("update", "ending", "--image", "localhost:8003/late:1")
	c.awaitComplete("ending", "localhost:8003/late:1", 8) // those of before too
	if image, _ := at(c.spec("ending"), "TaskTemplate", "ContainerSpec", "Image").(string); !strings.HasPrefix(image,
		"localhost:8003/late:1@sha256:") {
		c.Errorf("the image is %s", image)
	}
	c.configure(twoServices("2", "2", 1))
	c.awaitServices("other", "spider")
}

func (c *cluster) restartChangesNothing() {
	before := c.version("spider") + c.version("other")
	c.restartManager()
	if now := c.version("spider") + c.version("other"); now != before {
		c.Errorf("the versions of the services were %s and are %s", before, now)
	}
}

func (c *cluster) fileBreaks() {
	before := c.version("spider") + c.version("other")
	broken := twoServices("3", "2", 1) + "    imagee: b\n"
	c.configure(broken)
	line := fmt.Sprintf("%s:%d", configFile, strings.Count(broken, "\n"))
	c.awaitLog("the config file is broken", line, "imagee", "did you mean")
	if now := c.version("spider") + c.version("other"); now != before {
		c.Errorf("the versions of the services were %s and are %s", before, now)
	}
	c.configure(twoServices("3", "2", 1))
	c.awaitSpec("spider", "3", 1)
}

func (c *cluster) serviceLeaves() {
	config := twoServices("3", "2", 1)
	config, _, _ = strings.Cut(config, "  other:")
	c.configure(strings.Replace(config, "prune: true", "prune: false", 1))
	c.awaitLog("service other: it is no longer in crawlbox.yaml and runs on", "crawlbox rm other")
	c.awaitServices("other", "spider")

	// What the file says is applied at a start too.
	c.agents[c.manager].Kill()
	c.configure(config)
	c.startManager()
	c.awaitServices("spider")
}

// configure writes the config file of the manager.
func (c *cluster) configure(config string) {
	c.Helper()
	c.manager.WriteFile(configFile, config)
}

// restartManager kills the manager and returns when a new one is ready, its
// services included.
func (c *cluster) restartManager() {
	c.Helper()
	const ready = "manager is ready"
	agent := c.agents[c.manager]
	before := strings.Count(agent.Logs(), ready)
	agent.Kill()
	c.startManager()
	lab.WaitFor(c, patience, ready, func() error { return want(strings.Count(agent.Logs(), ready), before+1) })
}

// awaitLog waits for a line of the manager's log with all parts in it.
func (c *cluster) awaitLog(parts ...string) {
	c.Helper()
	lab.WaitFor(c, patience, strings.Join(parts, " … "), func() error {
		for line := range strings.Lines(c.agents[c.manager].Logs()) {
			if missing(line, parts) == "" {
				return nil
			}
		}
		return errors.New("not in the log")
	})
}

func missing(text string, parts []string) string {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return p
		}
	}
	return ""
}

// awaitSpec waits until a service has the environment VERSION=version and so
// many replicas.
func (c *cluster) awaitSpec(service, version string, replicas int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("version %s of %s with %d replicas", version, service,
		replicas), func() error {
		spec := c.spec(service)
		env := fmt.Sprint(at(spec, "TaskTemplate", "ContainerSpec", "Env"))
		n := fmt.Sprint(at(spec, "Mode", "Replicated", "Replicas"))
		return want(env+n, fmt.Sprintf("[VERSION=%s]%d", version, replicas))
	})
}

// awaitComplete waits until so many tasks of a service, with that image, have
// ended with exit code 0.
func (c *cluster) awaitComplete(service, image string, tasks int) {
	c.Helper()
	lab.WaitFor(c, patience, service+" is done", func() error {
		done := 0
		for _, task := range c.allTasks(service) {
			if task.State == fleet.TaskComplete && task.Image == image {
				done++
			}
		}
		return want(done, tasks)
	})
}

// version is Swarm's: it changes with every change of a service, also with one
// to what it was, and at the end of an update.
func (c *cluster) version(service string) string {
	c.Helper()
	var index, state string
	lab.WaitFor(c, patience, "the end of the update of "+service, func() error {
		out := c.manager.Docker("service", "inspect", "--format",
			"{{.Version.Index}} {{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}", service)
		if index, state, _ = strings.Cut(out+" ", " "); strings.HasPrefix(state, "updating") {
			return errors.New(out)
		}
		return nil
	})
	return index + " "
}

// awaitServices waits until these are all the services, in the order of ls.
func (c *cluster) awaitServices(names ...string) {
	c.Helper()
	lab.WaitFor(c, patience, "services of the config", func() error {
		var have []string
		for _, s := range c.services() {
			have = append(have, s.Name)
		}
		return want(fmt.Sprint(have), fmt.Sprint(names))
	})
}

// spec is what Docker has of a service.
func (c *cluster) spec(service string) any {
	c.Helper()
	var spec any
	if err := json.Unmarshal([]byte(c.manager.Docker("service", "inspect", "--format", "{{json .Spec}}", service)),
		&spec); err != nil {
		c.Fatal(err)
	}
	return spec
}

// at descends into JSON; what is not there is nil.
func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// differences lists where got is not what is meant. Keys of got that meant does
// not name may have any value.
func differences(path string, meant, got any) []string {
	switch m := meant.(type) {
	case map[string]any:
		var list []string
		for key, v := range m {
			list = append(list, differences(path+"."+key, v, at(got, key))...)
		}
		return list
	case []any:
		g, _ := got.([]any)
		if len(g) != len(m) {
			return []string{fmt.Sprintf("%s is %v, want %v", path, got, meant)}
		}
		var list []string
		for i, v := range m {
			list = append(list, differences(fmt.Sprintf("%s.%d", path, i), v, g[i])...)
		}
		return list
	}
	if !reflect.DeepEqual(meant, got) {
		return []string{fmt.Sprintf("%s is %v, want %v", path, got, meant)}
	}
	return nil
}

// allTasks are those of a service, ended ones too.
func (c *cluster) allTasks(service string) (list []fleet.Task) {
	c.Helper()
	c.read(&list, "ps", "--all", service)
	return list
}
