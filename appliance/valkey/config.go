package valkey

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// Args returns the arguments of an engine beside its configuration. It has its data in a directory, and what
// [Keys.File] returns in a file.
func (e Engine) Args(dir, keys string) []string {
	return []string{
		"--bind", e.Addr.Addr().String(),
		"--port", "0", "--tls-port", strconv.Itoa(int(e.Addr.Port())),
		"--tls-cert-file", keys, "--tls-key-file", keys, "--tls-ca-cert-file", keys,
		"--tls-auth-clients", "yes", "--tls-replication", "yes", "--tls-protocols", "TLSv1.3",
		"--dir", dir,
	}
}

// Trial returns a command that ends at once, and whose output [Judge] judges.
func Trial() []string { return []string{"valkey-server", "--port", "0", "--tls-port", "1"} }

var (
	errNoServer = errors.New("it has no program valkey-server that runs by itself")
	errNoTLS    = errors.New("its valkey-server was built without TLS")
)

var versionLine = regexp.MustCompile(`\b(?:Valkey|Redis) version=([0-9.]+)`)

// Judge returns why the program that said something in a trial can't keep the queue; nil: it can.
func Judge(said string) error {
	version := versionLine.FindStringSubmatch(said)
	switch {
	case version != nil && slices.Compare(numbers(version[1]), numbers(oldest)) < 0:
		return fmt.Errorf("its version %s is older than %s", version[1], oldest)
	case version != nil && strings.Contains(said, "Failed to configure TLS"): // it has no certificate
		return nil
	case version != nil || strings.Contains(said, "tls-port"):
		return errNoTLS
	}
	return errNoServer
}
