package valkey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Config returns the configuration that an engine starts with, which is a secret: it has the hash of the password, and
// of a password as long as crawlbox makes them that is all that can be done with it. maxMemory is in bytes.
//
// So it takes writes only with a replica, and knows no user that one could log in as, until it was seen what it is.
func Config(password string, maxMemory int64) string {
	hash := sha256.Sum256([]byte(password))
	return fmt.Sprintf(`user default on #%s ~* &* +@all -psync -sync
appendonly yes
appendfsync everysec
save ""
min-replicas-to-write 1
min-replicas-max-lag %d
repl-timeout %d
repl-ping-replica-period 1
repl-diskless-sync-delay 0
repl-backlog-size 64mb
notify-keyspace-events Kglsz
maxmemory %d
maxmemory-policy noeviction
`, hex.EncodeToString(hash[:]), maxLag, maxLag, maxMemory)
}
