package registry

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// secretFile holds the key that signs the state of uploads between requests. It
// is kept, so that an upload goes on after a restart.
const (
	secretFile  = "http-secret"
	secretBytes = 32
)

func loadSecret(dir string) (string, error) {
	path := filepath.Join(dir, secretFile)
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read upload secret: %w", err)
	}
	if secret := strings.TrimSpace(string(raw)); len(secret) == hex.EncodedLen(secretBytes) {
		return secret, nil
	}
	key := make([]byte, secretBytes)
	rand.Read(key) // never fails, see its documentation
	secret := hex.EncodeToString(key)
	if err := durable.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write upload secret: %w", err)
	}
	return secret, nil
}
