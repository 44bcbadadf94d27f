package queueproc

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/configs"
)

// Password returns the password that the config names, else the one in the file at path. That is made at the first
// start, with the password before, which a home elsewhere had; empty: there was none.
func Password(q configs.Queue, path, before string) (string, error) {
	if q.Password != "" {
		return q.Password, nil
	}
	if q.PasswordFile != "" {
		return readPassword(q.PasswordFile)
	}
	password, err := readPassword(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return password, err
	}
	password = cmp.Or(before, rand.Text())
	if err := durable.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("save the queue's password: %w", err)
	}
	return password, nil
}

func readPassword(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the queue's password: %w", err)
	}
	password := strings.TrimSpace(string(data))
	if password == "" {
		return "", fmt.Errorf("the file %s is empty; put the queue's password into it", path)
	}
	return password, nil
}

// NewClient returns a client of the queue at an address; over TLS unless secured is nil.
func NewClient(addr netip.AddrPort, password string, secured *tls.Config) *redis.Client {
	return redis.NewClient(leases.Bounded(&redis.Options{
		Addr:            addr.String(),
		Password:        password,
		DisableIdentity: true,
		TLSConfig:       secured,
	}))
}
