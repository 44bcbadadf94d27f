// Package configs reads crawlbox.yaml into one plain struct.
//
// A value comes from the highest layer that sets it: flags, then the
// environment (CRAWLBOX_ and the key in capitals, CRAWLBOX_NODE_PORT), then the
// file, then [Default]. viper picks the layer, once, in [Load]; what Load
// returns is a copy that goroutines may share for reading.
//
// Package document reads the file as YAML within bounds, package compose its services.
package configs

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/configs/compose"
)

// DefaultPath is the path that [Load] reads when it is given none.
const DefaultPath = "/etc/crawlbox/crawlbox.yaml"

// Config is the effective configuration of one node.
type Config struct {
	// AdvertiseAddr is the address at which other nodes reach this one.
	// The zero Addr, the default, means: found automatically.
	AdvertiseAddr netip.Addr
	// DataDir holds all state, mode 0700. Absolute; default /var/lib/crawlbox.
	DataDir string
	// Socket is the unix socket of the local API, mode 0660. Absolute;
	// default /run/crawlbox.sock.
	Socket string
	// SocketGroup is the group, by name or number, that may use Socket besides
	// root. Empty, the default: root's group.
	SocketGroup string
	// JoinFile holds the join token of a node that is not yet in a cluster.
	// Absolute or empty, the default: it comes from elsewhere, or not at all.
	JoinFile string
	// LogLevel is the least level that is logged; default info.
	LogLevel slog.Level

	Docker   Docker
	Node     Node
	Gossip   Gossip
	Registry Registry
	Mirror   Mirror
	// Queue is nil, the default, when the queue is off.
	Queue  *Queue
	Swarm  Swarm
	Backup Backup

	// Prune removes services that crawlbox made from this file and that the
	// file no longer has. Default false: they are reported and left running.
	Prune bool
	// Services lists what the file defines, sorted by name.
	Services []compose.Service
	// Schedules lists those that the file defines, sorted by name.
	Schedules []Schedule
	// Alerts says what is told of what is not as it should be. Its zero value but for times, the default: nothing.
	Alerts Alerts

	// File is the absolute path that Load looked at, whether or not it exists.
	File string
}

// Docker says how to reach the Docker Engine.
type Docker struct {
	// Host is an endpoint like unix:///run/docker.sock. Empty, the default:
	// DOCKER_HOST, then the current docker context, then the usual socket.
	Host string
}

// Node is the mutual TLS listener between nodes: join, API, image pieces.
type Node struct {
	Port uint16 // TCP; default 7980.
}

// Gossip is the membership protocol.
type Gossip struct {
	Port uint16 // TCP and UDP; default 7981.
}

// Registry is the registry that every node has on loopback.
type Registry struct {
	// Port is the TCP port; default 8003. It is part of every image name, so
	// all nodes of a cluster use the same one.
	Port uint16
	// DataDir holds the images on the manager. Absolute or empty; see
	// [Config.RegistryDir] for the default.
	DataDir string
	// MinFree is the room, in bytes, that a push leaves on the disk; default 256MB.
	MinFree Bytes
	// Public has the manager copy images of other registries, such as Docker Hub, that
	// services name, so that nodes get them as they get the cluster's own. Default
	// true; where it is false each node pulls them itself.
	Public bool
	// Copies is on how many managers an image is before a push of it is answered, as far
	// as there are as many; default 2.
	Copies int
}

// Mirror is a worker's cache of image data, and how nodes exchange it.
type Mirror struct {
	MaxSize Bytes // Bytes on disk before the oldest data goes; default 10GB.
	// UploadRate and DownloadRate limit the pieces of images that this node sends to
	// others and gets from them, in bytes a second; default 0, which is no limit.
	UploadRate, DownloadRate Bytes
}

// Queue is the queue that speaks the Redis protocol.
type Queue struct {
	// Engine is what keeps the items: EngineEmbedded, the default, EngineURL or EngineValkey.
	Engine string
	// Image is what EngineValkey runs, by any name that a service's image may have; default DefaultValkey.
	Image string
	// EnginePort is the TCP port of EngineValkey on managers; default 7892.
	EnginePort uint16
	// URL is where the engine is: redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss://
	// for TLS. Empty unless Engine is EngineURL; see [Queue.Server].
	URL string
	// URLFile holds the URL, so that it need not stand here. Absolute or empty; excludes URL.
	URLFile string
	// URLCA is a file with who signs the engine's certificate, in PEM. Absolute, or empty: who this machine trusts.
	URLCA string
	// Safe has patterns of keys, as of Redis' KEYS, whose items come back when the container that popped them ends
	// without being done. None, the default: a pop takes an item away for good.
	Safe []string
	// Window is how many newer items a container has to have popped for one to be done, 1 to 1000; default 16.
	Window int
	// MaxDeliveries is how often an item comes back at most, 1 to 1000; default 5. Then it is in KEY:dead.
	MaxDeliveries int
	// Linger has a pop that finds nothing wait while others hold items of the key. Default false.
	Linger bool
	// Port is the TCP port; default 7891.
	Port uint16
	// Password that clients give. Empty, the default, and no PasswordFile: the
	// manager makes one at its first start.
	Password string
	// PasswordFile holds the password, so that it need not stand here.
	// Absolute or empty; excludes Password.
	PasswordFile string
	// TLS makes the port speak TLS, with the node's certificate. Default false.
	TLS bool
	// DataDir holds what survives a restart. Absolute or empty; see
	// [Config.QueueDir] for the default.
	DataDir string
	// MaxMemory is how many bytes data and clients may take, at least 64MiB; writes
	// are refused above it. 0, the default: a quarter of the machine's memory. With
	// EngineURL it is for clients alone, and with EngineValkey it is Valkey's.
	MaxMemory Bytes
}

// Swarm holds the cluster settings that `docker swarm update` would change.
type Swarm struct {
	// Heartbeat is the time between two signs of life of a node, at least 1s.
	// 0, the default: Swarm's value is left alone.
	Heartbeat time.Duration
	// TaskHistory is how many old tasks Swarm keeps per slot, at least 2.
	// -1, the default: Swarm's value is left alone.
	TaskHistory int
}

// Backup says where the manager puts the cluster's sealed backups, beside other nodes.
type Backup struct {
	// Dir is a directory that keeps the newest three. Absolute or empty, the default: none does.
	Dir string
	// Command is run by the shell with each as its standard input. Empty, the default: none is.
	Command string
}

// Default returns the configuration of a node without a config file.
func Default() Config {
	return Config{
		DataDir:  "/var/lib/crawlbox",
		Socket:   "/run/crawlbox.sock",
		LogLevel: slog.LevelInfo,
		Node:     Node{Port: 7980},
		Gossip:   Gossip{Port: 7981},
		Registry: Registry{Port: 8003, MinFree: 256 * megabyte, Public: true, Copies: 2},
		Mirror:   Mirror{MaxSize: 10 * gigabyte},
		Swarm:    Swarm{TaskHistory: -1},
		Alerts:   defaultAlerts(),
	}
}

// DefaultQueue returns the queue as it is when the file says only `queue:`.
func DefaultQueue() *Queue {
	return &Queue{
		Engine:        EngineEmbedded,
		Image:         DefaultValkey,
		EnginePort:    7892,
		Port:          7891,
		Window:        16,
		MaxDeliveries: 5,
	}
}

// RegistryDir returns where the manager keeps images: registry.data_dir, else
// "registry" below the data directory.
func (c Config) RegistryDir() string { return orBelow(c.Registry.DataDir, c.DataDir, "registry") }

// MirrorDir returns where a worker keeps its cache: "mirror" below the data directory.
func (c Config) MirrorDir() string { return filepath.Join(c.DataDir, "mirror") }

// QueueDir returns where the queue keeps its items: queue.data_dir, else "queue"
// below the data directory. It is empty when the queue is off.
func (c Config) QueueDir() string {
	if c.Queue == nil {
		return ""
	}
	return orBelow(c.Queue.DataDir, c.DataDir, "queue")
}

func orBelow(dir, parent, name string) string {
	if dir != "" {
		return dir
	}
	return filepath.Join(parent, name)
}

// EnvFiles returns the files, besides File, whose content the configuration depends
// on: absolute, sorted, each once.
func (c Config) EnvFiles() []string {
	var files []string
	for _, s := range c.Services {
		files = append(files, s.EnvFiles...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}
