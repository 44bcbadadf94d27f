package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

type accountsFile struct {
	Accounts []account `json:"accounts"`
}

func readAccounts(doc Document) (map[string]account, error) {
	data, err := doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read accounts of the registry: %w", err)
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return decodeAccounts(data)
}

// decodeAccounts reads the accounts in a document, whose data is nil where there is none.
func decodeAccounts(data []byte) (map[string]account, error) {
	byName := map[string]account{}
	if data == nil {
		return byName, nil
	}
	f, err := parseAccounts(data)
	if err != nil {
		return nil, damaged(err)
	}
	for _, each := range f.Accounts {
		byName[each.Name] = each
	}
	return byName, nil
}

func parseAccounts(data []byte) (f accountsFile, err error) {
	if err = json.Unmarshal(data, &f); err == nil {
		err = f.check()
	}
	return f, err
}

// CheckAccounts returns why a document is none of accounts.
func CheckAccounts(data []byte) error {
	_, err := parseAccounts(data)
	return err
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
