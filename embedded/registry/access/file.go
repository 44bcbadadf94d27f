package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// accountsFile is the content of the file.
type accountsFile struct {
	Accounts []account `json:"accounts"`
}

func readAccounts(path string) ([]account, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accounts of the registry: %w", err)
	}
	var f accountsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, damaged(path, err)
	}
	if err := f.check(); err != nil {
		return nil, damaged(path, err)
	}
	return f.Accounts, nil
}

func (f accountsFile) check() error {
	if f.Accounts == nil {
		return errors.New("it has no list of accounts")
	}
	seen := map[string]bool{}
	for i, a := range f.Accounts {
		_, err := bcrypt.Cost([]byte(a.Hash))
		switch {
		case !accountName.MatchString(a.Name) || seen[a.Name]:
			return fmt.Errorf("account %d has no name of its own", i+1)
		case err != nil || a.Issue == "":
			return fmt.Errorf("account %s is incomplete", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// damaged is the error for a file that is there but cannot be used. It is not
// made anew: that would lock out everybody who has an account.
func damaged(path string, err error) error {
	return fmt.Errorf("accounts of the registry: %s is damaged (%w): restore it from a backup, or remove it and issue the passwords again", path, err)
}

// writeAccounts leaves the old file or the new one, whatever happens in between,
// and the new one once it has returned.
func writeAccounts(path string, list []account) error {
	data, err := json.MarshalIndent(accountsFile{Accounts: append([]account{}, list...)}, "", "  ")
	if err != nil {
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	if err := durable.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	return nil
}
