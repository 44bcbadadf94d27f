package configs

import (
	"slices"
	"strings"
)

// queueEnabled is the key that `queue: true`, `queue: {…}` and CRAWLBOX_QUEUE set. It
// has a name of its own because viper cannot hold a value and a group under
// one key.
const queueEnabled = "queue.enabled"

// key ties a setting's name to its field.
type key struct {
	name   string
	field  func(*Config) field
	path   bool // A relative path is resolved against the directory of the file.
	secret bool // Show hides it.
	url    bool // Show hides the password in it.
	list   bool // The file may have a sequence; its text is that of a list, see list.
}

// keys are all settings, in the order of the annotated file.
var keys = []key{
	{name: "advertise_addr", field: func(c *Config) field { return address(&c.AdvertiseAddr) }},
	{name: "data_dir", path: true, field: func(c *Config) field { return text(&c.DataDir) }},
	{name: "socket", path: true, field: func(c *Config) field { return text(&c.Socket) }},
	{name: "socket_group", field: func(c *Config) field { return text(&c.SocketGroup) }},
	{name: "join_file", path: true, field: func(c *Config) field { return text(&c.JoinFile) }},
	{name: "log_level", field: func(c *Config) field { return level(&c.LogLevel) }},
	{name: "docker.host", field: func(c *Config) field { return text(&c.Docker.Host) }},
	{name: "node.port", field: func(c *Config) field { return port(&c.Node.Port) }},
	{name: "gossip.port", field: func(c *Config) field { return port(&c.Gossip.Port) }},
	{name: "registry.port", field: func(c *Config) field { return port(&c.Registry.Port) }},
	{name: "registry.data_dir", path: true, field: func(c *Config) field { return text(&c.Registry.DataDir) }},
	{name: "registry.min_free", field: func(c *Config) field { return size(&c.Registry.MinFree) }},
	{name: "registry.public", field: func(c *Config) field { return boolean(&c.Registry.Public) }},
	{name: "registry.copies", field: func(c *Config) field { return integer(&c.Registry.Copies) }},
	{name: "mirror.max_size", field: func(c *Config) field { return size(&c.Mirror.MaxSize) }},
	{name: "mirror.upload_rate", field: func(c *Config) field { return size(&c.Mirror.UploadRate) }},
	{name: "mirror.download_rate", field: func(c *Config) field { return size(&c.Mirror.DownloadRate) }},
	{name: "queue.engine", field: func(c *Config) field { return engine(&c.Queue.Engine) }},
	{name: "queue.image", field: func(c *Config) field { return text(&c.Queue.Image) }},
	{name: "queue.engine_port", field: func(c *Config) field { return port(&c.Queue.EnginePort) }},
	{name: "queue.url", url: true, field: func(c *Config) field { return text(&c.Queue.URL) }},
	{name: "queue.url_file", path: true, field: func(c *Config) field { return text(&c.Queue.URLFile) }},
	{name: "queue.url_ca", path: true, field: func(c *Config) field { return text(&c.Queue.URLCA) }},
	{name: "queue.safe", list: true, field: func(c *Config) field { return list(&c.Queue.Safe) }},
	{name: "queue.window", field: func(c *Config) field { return integer(&c.Queue.Window) }},
	{name: "queue.max_deliveries", field: func(c *Config) field { return integer(&c.Queue.MaxDeliveries) }},
	{name: "queue.linger", field: func(c *Config) field { return boolean(&c.Queue.Linger) }},
	{name: "queue.port", field: func(c *Config) field { return port(&c.Queue.Port) }},
	{name: "queue.password", secret: true, field: func(c *Config) field { return text(&c.Queue.Password) }},
	{name: "queue.password_file", path: true, field: func(c *Config) field { return text(&c.Queue.PasswordFile) }},
	{name: "queue.tls", field: func(c *Config) field { return boolean(&c.Queue.TLS) }},
	{name: "queue.data_dir", path: true, field: func(c *Config) field { return text(&c.Queue.DataDir) }},
	{name: "queue.max_memory", field: func(c *Config) field { return size(&c.Queue.MaxMemory) }},
	{name: "swarm.heartbeat", field: func(c *Config) field { return duration(&c.Swarm.Heartbeat) }},
	{name: "swarm.task_history", field: func(c *Config) field { return integer(&c.Swarm.TaskHistory) }},
	{name: "backup.dir", path: true, field: func(c *Config) field { return text(&c.Backup.Dir) }},
	{name: "backup.command", field: func(c *Config) field { return text(&c.Backup.Command) }},
	{name: "prune", field: func(c *Config) field { return boolean(&c.Prune) }},
}

// ofQueue reports whether the key exists only while the queue is on.
func (k key) ofQueue() bool { return strings.HasPrefix(k.name, "queue.") }

// env returns the variable that sets the key.
func (k key) env() string { return envName(k.name) }

func envName(name string) string {
	if name == queueEnabled {
		name = "queue"
	}
	if name == "queue.url" { // CRAWLBOX_QUEUE_URL is what services are told
		return "CRAWLBOX_QUEUE_ENGINE_URL"
	}
	return "CRAWLBOX_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// flagName returns the flag that sets the key, without dashes in front.
func flagName(name string) string {
	if name == queueEnabled {
		name = "queue"
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(name)
}

// Keys lists the names of all settings, such as "registry.port", in the order
// of the annotated file. Each can be set by an environment variable and by the
// flags that [Flags] takes.
func Keys() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

func lookupKey(name string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// isGroup reports whether name is a group of settings such as "registry".
func isGroup(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

// siblings returns the names that may stand where name stands: the settings of its
// group, or at the top level the groups, the single settings, and Compose's.
func siblings(name string) []string {
	group, _, nested := strings.Cut(name, ".")
	known := []string{"services", "networks", "volumes", schedulesKey, alertsKey}
	if nested {
		known = nil
	}
	for _, k := range keys {
		top, _, _ := strings.Cut(k.name, ".")
		switch {
		case nested && top == group:
			known = append(known, k.name)
		case !nested:
			known = append(known, top)
		}
	}
	return known
}
