package queue

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

// section is a part of INFO.
type section struct {
	name  string
	lines []string
}

// info implements INFO, the part that clients and monitors read.
func (s *session) info(args []string) {
	var parts []string
	for _, part := range s.sections() {
		wanted := len(args) == 1
		for _, arg := range args[1:] {
			arg = lower(arg)
			wanted = wanted || arg == "all" || arg == "everything" || arg == "default" || arg == lower(part.name)
		}
		if wanted {
			parts = append(parts, "# "+part.name+"\r\n"+strings.Join(append(part.lines, ""), "\r\n"))
		}
	}
	s.c.Out.Verbatim(strings.Join(parts, "\r\n"))
}

func (s *session) sections() []section {
	srv, c := s.server, s.core
	stats, used, written := c.engine.Stats(), c.engine.Used(), "ok"
	if c.journal.Err() != nil {
		written = "err"
	}
	var keyspace []string
	for db := range engine.Databases {
		if keys, expiring := c.engine.Keys(db); keys > 0 {
			keyspace = append(keyspace, fmt.Sprintf("db%d:keys=%d,expires=%d,avg_ttl=0", db, keys, expiring))
		}
	}
	return []section{
		{"Server", []string{
			"redis_version:" + redisVersion, "redis_mode:standalone", "server_name:crawlbox",
			field("process_id", os.Getpid()), field("tcp_port", srv.addr.Load().Port),
			field("uptime_in_seconds", int(time.Since(srv.started).Seconds())),
		}},
		{"Clients", []string{
			field("connected_clients", srv.door.Open.Load()), field("maxclients", srv.door.Most()),
			field("blocked_clients", srv.blocked.Load()),
		}},
		{"Memory", []string{
			field("used_memory", used), "used_memory_human:" + human(used), field("maxmemory", srv.opts.dataBound()),
			"maxmemory_policy:noeviction", field("mem_clients_normal", srv.memory.Held()),
		}},
		{"Persistence", []string{
			"loading:0", "aof_enabled:1", field("aof_rewrite_in_progress", b2i(c.snapshot != nil)),
			"aof_last_write_status:" + written,
		}},
		{"Stats", []string{
			field("total_connections_received", srv.clients.Load()),
			field("total_commands_processed", c.commands.Load()),
			field("expired_keys", stats.Expired), field("keyspace_hits", stats.Hits),
			field("keyspace_misses", stats.Misses),
		}},
		{"Replication", []string{"role:master", "connected_slaves:0"}},
		{"Keyspace", keyspace},
	}
}

func field[T int | int64 | uint64](name string, value T) string {
	return fmt.Sprintf("%s:%d", name, value)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// human writes bytes as Redis does.
func human(bytes int64) string {
	size, unit := float64(bytes), 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(bytes, 10) + "B"
	}
	return fmt.Sprintf("%.2f%c", size, "KMGT"[unit-1])
}
