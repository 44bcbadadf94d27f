package access

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// ErrUnknownAccount is returned by Remove.
var ErrUnknownAccount = errors.New("no such account of the registry")

// Account is somebody who may push and pull with a password.
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
	// Save leaves the old content or the new one, whatever happens in between, and the
	// new one once it has returned. The message says what it is for.
	Save(data []byte, message string) error
}

// Accounts holds the accounts of the registry, in a document. It is safe for
// concurrent use; only one process may have the document open.
type Accounts struct {
	doc  Document
	cost int // bcrypt's
	// nobody stands in for accounts that there are not.
	nobody account

	changing sync.Mutex // held while the file is written
	mu       sync.RWMutex
	byName   map[string]account
}

// OpenAccounts reads the accounts in a document; none, where there is none. A damaged
// document is an error, and stays as it is.
func OpenAccounts(doc Document) (*Accounts, error) {
	return openAccounts(doc, bcrypt.DefaultCost)
}

func openAccounts(doc Document, cost int) (*Accounts, error) {
	list, err := readAccounts(doc)
	if err != nil {
		return nil, err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	if err != nil {
		return nil, fmt.Errorf("prepare accounts of the registry: %w", err)
	}
	a := &Accounts{doc: doc, cost: cost, nobody: account{Hash: string(hash)}, byName: map[string]account{}}
	for _, each := range list {
		a.byName[each.Name] = each
	}
	return a, nil
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
	a.mu.RLock()
	defer a.mu.RUnlock()
	var list []Account
	for _, each := range sorted(a.byName) {
		list = append(list, Account{Name: each.Name, Created: each.Created})
	}
	return list
}

// change makes what fn does to a copy of the accounts true, on disk first.
func (a *Accounts) change(fn func(byName map[string]account) error) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	next := maps.Clone(a.byName) // written only with changing held
	if err := fn(next); err != nil {
		return err
	}
	if err := writeAccounts(a.doc, sorted(next)); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byName = next
	return nil
}

// find returns an account. Where there is none, it returns one with a hash that
// no password fits, so that a look costs the same.
func (a *Accounts) find(name string) (account, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if found, ok := a.byName[name]; ok {
		return found, true
	}
	return a.nobody, false
}

func sorted(byName map[string]account) []account {
	return slices.SortedFunc(maps.Values(byName), func(x, y account) int { return cmp.Compare(x.Name, y.Name) })
}
