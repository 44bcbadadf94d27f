package configs

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/configs/document"
)

// keyProblem is a value that is well formed and makes no sense.
//
// other is the second key of a clash, for when key has its default.
type keyProblem struct{ key, reason, other string }

// Validate checks the settings against each other. [Load] has done so already;
// it is for a Config that was put together otherwise. Each error is a
// [*document.Error]
// without a place.
func (c Config) Validate() error {
	p := &document.Problems{}
	for _, problem := range c.check() {
		p.Addf(0, "%s: %s", problem.key, problem.reason)
	}
	return p.Err()
}

func (c Config) check() []keyProblem {
	found := append(c.checkPaths(), c.checkPorts()...)
	if c.Registry.MinFree < 0 {
		found = append(found, keyProblem{key: "registry.min_free", reason: "a size is not negative"})
	}
	if c.Registry.Copies < 1 {
		found = append(found, keyProblem{key: "registry.copies", reason: "an image is on 1 manager at least"})
	}
	found = append(found, c.Mirror.check()...)
	if c.Queue != nil && c.Queue.Password != "" && c.Queue.PasswordFile != "" {
		found = append(found, keyProblem{
			key:    "queue.password_file",
			reason: "queue.password is set too: remove one of them",
		})
	}
	if c.Queue != nil {
		found = append(append(found, c.Queue.checkEngine()...), c.Queue.checkLeases()...)
	}
	if c.Queue != nil && c.Queue.MaxMemory != 0 && c.Queue.MaxMemory < leastQueue {
		found = append(found, keyProblem{
			key: "queue.max_memory",
			reason: fmt.Sprintf("%s is too little: use %s or more, or 0 for a quarter of the machine's memory",
				c.Queue.MaxMemory, leastQueue),
		})
	}
	return append(found, c.Swarm.check()...)
}

// leastQueue is the memory that a queue is of use with.
const leastQueue Bytes = 64 << 20

func (m Mirror) check() (found []keyProblem) {
	for _, k := range []struct {
		name string
		size Bytes
	}{{"max_size", m.MaxSize}, {"upload_rate", m.UploadRate}, {"download_rate", m.DownloadRate}} {
		if k.size < 0 {
			found = append(found, keyProblem{key: "mirror." + k.name, reason: "a size is not negative"})
		}
	}
	return found
}

func (s Swarm) check() []keyProblem {
	var found []keyProblem
	if s.Heartbeat != 0 && s.Heartbeat < time.Second {
		found = append(found, keyProblem{
			key: "swarm.heartbeat",
			reason: fmt.Sprintf("%s is too short: never under 1s, a short heartbeat makes a busy machine look dead",
				s.Heartbeat),
		})
	}
	switch {
	case s.TaskHistory == 0 || s.TaskHistory == 1:
		found = append(found, keyProblem{
			key: "swarm.task_history",
			reason: fmt.Sprintf("%d makes updates crawl: use 2 or more, or -1 to keep Swarm's own value",
				s.TaskHistory),
		})
	case s.TaskHistory < -1:
		found = append(found, keyProblem{key: "swarm.task_history",
			reason: fmt.Sprintf("%d is negative: use 2 or more, or -1 to keep Swarm's own value", s.TaskHistory)})
	}
	return found
}

func (c Config) checkPaths() []keyProblem {
	var found []keyProblem
	for _, k := range keys {
		if !k.path || k.ofQueue() && c.Queue == nil {
			continue
		}
		path := k.field(&c).text()
		required := k.name == "data_dir" || k.name == "socket"
		switch {
		case path == "" && required:
			found = append(found, keyProblem{key: k.name, reason: "must be a path, not empty"})
		case path != "" && !filepath.IsAbs(path):
			reason := fmt.Sprintf("must be an absolute path, not %q", path)
			found = append(found, keyProblem{key: k.name, reason: reason})
		}
	}
	return found
}

// dockerPorts are Swarm's own, on every node.
var dockerPorts = map[uint16]string{
	2377: "Docker Swarm's management",
	7946: "Docker Swarm's gossip",
	4789: "Docker Swarm's overlay networks",
}

func (c Config) checkPorts() []keyProblem {
	ports := []struct {
		key  string
		port uint16
	}{{"node.port", c.Node.Port}, {"gossip.port", c.Gossip.Port}, {"registry.port", c.Registry.Port}}
	if c.Queue != nil {
		ports = append(ports, struct {
			key  string
			port uint16
		}{"queue.port", c.Queue.Port})
		if c.Queue.Engine == EngineValkey {
			ports = append(ports, struct {
				key  string
				port uint16
			}{"queue.engine_port", c.Queue.EnginePort})
		}
	}
	var found []keyProblem
	taken := map[uint16]string{}
	for port, user := range dockerPorts {
		taken[port] = user
	}
	for _, p := range ports {
		switch user, ok := taken[p.port]; {
		case p.port == 0:
			found = append(found, keyProblem{key: p.key, reason: "must be a port from 1 to 65535, not 0"})
		case ok:
			found = append(found, keyProblem{
				key:    p.key,
				reason: fmt.Sprintf("%d is the port of %s: choose another", p.port, user),
				other:  user,
			})
		default:
			taken[p.port] = p.key
		}
	}
	return found
}
