package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// accountsFile is the content of the file.
type accountsFile struct {
	Accounts []account `json:"accounts"`
}

func readAccounts(doc Document) ([]account, error) {
	data, err := doc.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accounts of the registry: %w", err)
	}
	var f accountsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, damaged(err)
	}
	if err := f.check(); err != nil {
		return nil, damaged(err)
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
		case naming.CheckAccount(a.Name) != nil || seen[a.Name]:
			return fmt.Errorf("account %d has no name of its own", i+1)
		case err != nil || a.Issue == "":
			return fmt.Errorf("account %s is incomplete", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// damaged returns the error for a file that is there but cannot be used. It is not
// made anew: that would lock out everybody who has an account.
func damaged(err error) error {
	return fmt.Errorf("the accounts of the registry are damaged (%w): restore the data directory from a backup", err)
}

// writeAccounts leaves the old file or the new one, whatever happens in between,
// and the new one once it has returned.
func writeAccounts(doc Document, list []account) error {
	data, err := json.MarshalIndent(accountsFile{Accounts: append([]account{}, list...)}, "", "  ")
	if err != nil {
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	if err := doc.Save(append(data, '\n'), "change accounts of the registry"); err != nil {
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	return nil
}
