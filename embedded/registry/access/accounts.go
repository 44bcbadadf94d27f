package access

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

var ErrUnknownAccount = errors.New("no such account of the registry")

// Account may push and pull with a password.
type Account struct {
	Name    string
	Created time.Time // when its password was issued
}

// account holds what the file has of an account.
type account struct {
	Name    string    `json:"name"`
	Issue   string    `json:"issue"` // a random name of this password
	Hash    string    `json:"hash"`  // bcrypt
	Created time.Time `json:"created"`
}

// Document stores the accounts.
type Document interface {
	// Load returns what was saved last. The error is fs.ErrNotExist where nothing was.
	Load() ([]byte, error)
	// Update replaces the content, which is nil where there is none, by what fn makes of
	// it. It leaves the old content or the new one, whatever happens in between, and the
	// new one once it has returned; fn is called again where somebody else has changed the
	// document meanwhile. The message says what it is for.
	Update(message string, fn func(data []byte) ([]byte, error)) error
	// Changed returns a channel that is closed when the content may have changed.
	Changed() <-chan struct{}
}

// Accounts holds the accounts of the registry, in a document, which it follows. All methods
// may be called at the same time.
type Accounts struct {
	doc  Document
	cost int // bcrypt's
	// nobody stands in for accounts that there are not.
	nobody account

	mu      sync.Mutex
	changed <-chan struct{} // since byName was read
	byName  map[string]account
}

// OpenAccounts reads the accounts in a document; none, where there is none. A damaged
// document is an error, and stays as it is.
func OpenAccounts(doc Document) (*Accounts, error) {
	return openAccounts(doc, bcrypt.DefaultCost)
}

func openAccounts(doc Document, cost int) (*Accounts, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	if err != nil {
		return nil, fmt.Errorf("prepare accounts of the registry: %w", err)
	}
	a := &Accounts{doc: doc, cost: cost, nobody: account{Hash: string(hash)}}
	return a, a.read()
}

// read takes over what the document says. The caller holds mu, or has Accounts for itself.
func (a *Accounts) read() error {
	changed := a.doc.Changed() // before the document is read
	byName, err := readAccounts(a.doc)
	if err == nil {
		a.byName, a.changed = byName, changed
	}
	return err
}

// accounts returns the accounts as they are now; where the document cannot be read, those
// that it had last.
func (a *Accounts) accounts() map[string]account {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.changed:
		_ = a.read() // which is tried again
	default:
	}
	return a.byName
}

// Issue makes an account, or gives one that is there another password, and
// returns the password. This is the only time that the password can be seen. The
// error is that of naming.CheckAccount, or that the file could not be written; then all
// is as it was.
func (a *Accounts) Issue(name string) (password string, err error) {
	if err := naming.CheckAccount(name); err != nil {
		return "", err
	}
	password = rand.Text()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), a.cost)
	if err != nil {
		return "", fmt.Errorf("issue a password for %s: %w", name, err)
	}
	err = a.change(func(byName map[string]account) error {
		byName[name] = account{Name: name, Issue: rand.Text(), Hash: string(hash), Created: time.Now().UTC()}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("issue a password for %s: %w", name, err)
	}
	return password, nil
}

// Remove ends an account: its password and its tokens are refused from now on.
// The error is ErrUnknownAccount, or that the file could not be written; then
// the account is still there.
func (a *Accounts) Remove(name string) error {
	err := a.change(func(byName map[string]account) error {
		if _, ok := byName[name]; !ok {
			return ErrUnknownAccount
		}
		delete(byName, name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove account %.64q: %w", name, err)
	}
	return nil
}

// List returns the accounts in the order of their names.
func (a *Accounts) List() []Account {
	var list []Account
	for _, each := range sorted(a.accounts()) {
		list = append(list, Account{Name: each.Name, Created: each.Created})
	}
	return list
}

// change makes what fn does to a copy of the accounts true, on disk first.
func (a *Accounts) change(fn func(byName map[string]account) error) error {
	var refused error
	err := a.doc.Update("change accounts of the registry", func(data []byte) ([]byte, error) {
		byName, err := decodeAccounts(data)
		if err == nil {
			err = fn(byName)
		}
		if refused = err; err != nil {
			return nil, err
		}
		data, err = json.MarshalIndent(accountsFile{Accounts: append([]account{}, sorted(byName)...)}, "", "  ")
		return append(data, '\n'), err
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return fmt.Errorf("write accounts of the registry: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read()
}

// find returns an account. Where there is none, it returns one with a hash that
// no password fits, so that a look costs the same.
func (a *Accounts) find(name string) (account, bool) {
	if found, ok := a.accounts()[name]; ok {
		return found, true
	}
	return a.nobody, false
}

func sorted(byName map[string]account) []account {
	return slices.SortedFunc(maps.Values(byName), func(x, y account) int { return cmp.Compare(x.Name, y.Name) })
}
