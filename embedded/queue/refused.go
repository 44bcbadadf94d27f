package queue

import "strings"

// refused says why a command of Redis that miniredis has, or that clients are
// likely to try, is not served here.
var refused = map[string]string{}

func init() {
	for reason, names := range map[string]string{
		"HyperLogLogs cannot be kept on disk":              "PFADD PFCOUNT PFMERGE",
		"deadlines of hash fields cannot be kept on disk":  "HEXPIRE HPERSIST HTTL HPTTL HSETEX HPEXPIRE HEXPIREAT HPEXPIREAT HGETEX",
		"consumer groups cannot be kept on disk":           "XGROUP XREADGROUP XACK XCLAIM XAUTOCLAIM XPENDING",
		"there is no binary form of a value":               "DUMP RESTORE MIGRATE",
		"values stay in their database and are not copied": "COPY MOVE SWAPDB",
		"use GEOSEARCH":                "GEORADIUS GEORADIUSBYMEMBER",
		"it holds data, not channels":  "SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE PUBLISH SPUBLISH PUBSUB",
		"it has a journal of its own":  "SAVE BGSAVE SYNC PSYNC REPLICAOF SLAVEOF",
		"it runs on one node":          "CLUSTER FAILOVER",
		"crawlbox starts and stops it": "SHUTDOWN DEBUG MODULE",
		"it keeps no such figures":     "OBJECT MEMORY MONITOR SLOWLOG LATENCY",
	} {
		for _, name := range strings.Fields(names) {
			refused[name] = reason
		}
	}
}

// refuse returns the error for a command that is not served.
func refuse(name string, args []string) string {
	if reason, ok := refused[name]; ok {
		return replyError("ERR " + name + " is not served by crawlbox's queue (" + reason + "): use a Redis server of your own")
	}
	var b strings.Builder
	for _, arg := range args[:min(len(args), 10)] {
		b.WriteString("'" + arg[:min(len(arg), 64)] + "' ")
	}
	return replyError("ERR unknown command '" + name[:min(len(name), 64)] + "', with args beginning with: " + b.String())
}
