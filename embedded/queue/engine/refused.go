package engine

import "strings"

const ownServer = "use a Redis or Valkey server of your own for what needs it"

// refused says why a command of Redis is not served, and what to do.
var refused = map[string]string{}

func init() {
	for reason, names := range map[string]string{
		noScripts: "EVAL_RO EVALSHA_RO FCALL FCALL_RO FUNCTION",
		"it has no streams: " + ownServer: "XADD XACK XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE " +
			"XSETID XTRIM",
		"it has no places: " + ownServer: "GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO " +
			"GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE",
		"it has no HyperLogLogs: " + ownServer: "PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST",
		"values have no binary form there":     "DUMP RESTORE MIGRATE RESTORE-ASKING",
		"fields of hashes have no deadlines": "HEXPIRE HPERSIST HTTL HPTTL HSETEX HPEXPIRE HEXPIREAT HPEXPIREAT HGETEX HGETDEL " +
			"HEXPIRETIME HPEXPIRETIME",
		"use LRANGE, SMEMBERS or ZRANGE":        "SORT SORT_RO",
		"use SETBIT and GETBIT":                 "BITFIELD BITFIELD_RO",
		"use SUBSCRIBE and PUBLISH":             "SSUBSCRIBE SUNSUBSCRIBE SPUBLISH",
		"keys stay in their database: use COPY": "MOVE SWAPDB",
		"it has a journal of its own":           "SAVE BGSAVE",
		"it runs on one node": "CLUSTER FAILOVER ASKING READONLY READWRITE SYNC PSYNC REPLCONF REPLICAOF " +
			"SLAVEOF ROLE WAITAOF",
		"crawlbox starts, stops and sets it up": "SHUTDOWN DEBUG MODULE",
		"there is one user, default":            "ACL",
		"it keeps no such figures: see INFO":    "OBJECT MEMORY MONITOR SLOWLOG LATENCY",
		"compare the strings yourself":          "LCS",
	} {
		for _, name := range strings.Fields(names) {
			refused[name] = reason
		}
	}
}

// Refusal is the error for a command that is not served, "" when Redis has none
// of that name either.
func Refusal(name string) string {
	if reason, ok := refused[name]; ok {
		return "ERR " + name + Refused + reason
	}
	return ""
}
