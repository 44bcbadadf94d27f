package valkey

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Document says where the queue's Valkey is. It is part of the cluster's state.
type Document struct {
	// Wanted is as the config of the queue's home has it; its zero value: there is to be no Valkey.
	Wanted   Wanted   `json:"wanted,omitzero"`
	Password string   `json:"password"` // of the user "default"
	Keys     Keys     `json:"tls,omitzero"`
	Named    string   `json:"named"`   // what Wanted.Image was when Image was looked up
	Image    string   `json:"image"`   // that, pinned
	Engines  []Engine `json:"engines"` // two at most
	// Generation grows when Engines change.
	Generation int `json:"generation"`
	// Change grows with each change of what follows.
	Change  int  `json:"change"`
	Epoch   int  `json:"epoch"`   // of the primary
	Primary int  `json:"primary"` // its slot
	Fenced  bool `json:"fenced"`  // the primary is to take writes only while the replica acknowledges
	InSync  bool `json:"in_sync"` // it was seen to, so that the replica may take its place
	Begun   bool `json:"begun"`   // an engine has taken writes, so that one without data has lost them
	Fronts  bool `json:"fronts"`  // primaries know a user for them
}

// Wanted is what the config says of Valkey.
type Wanted struct {
	Image  string `json:"image"`  // as people name it
	Port   uint16 `json:"port"`   // on managers
	Memory int64  `json:"memory"` // that data may take, in bytes
}

// Want has the document say what the config does.
func Want(store Store, w Wanted) error {
	d, err := Load(store)
	if err != nil || d.Wanted == w {
		return err
	}
	next := d
	next.Wanted = w
	if w == (Wanted{}) { // another Valkey later begins anew
		next = Document{Epoch: d.Epoch}
	}
	_, err = save(store, d, next, "queue: what the config says of Valkey")
	return err
}

// Engine is one Valkey.
type Engine struct {
	Slot int    `json:"slot"` // 1 or 2
	Node string `json:"node"` // that it is pinned to, by Swarm's ID
	Name string `json:"name"` // of the node, for people
	// What follows is as it is wanted once the engine was the replica, or where it is alone: it is started again then.
	Addr   netip.AddrPort `json:"addr"`
	Image  string         `json:"image"`  // that it runs, pinned
	Memory int64          `json:"memory"` // that its data may take, in bytes
}

// Service returns the name of the Swarm service.
func (e Engine) Service() string { return fmt.Sprintf("%s%d", fleet.OwnServices, e.Slot) }

// At returns the engine of a slot.
func (d Document) At(slot int) (Engine, bool) {
	i := slices.IndexFunc(d.Engines, func(e Engine) bool { return e.Slot == slot })
	if i < 0 {
		return Engine{}, false
	}
	return d.Engines[i], true
}

// primary returns the primary, and its replica where there is one.
func (d Document) primary() (p Engine, r *Engine) {
	for _, e := range d.Engines {
		if e.Slot == d.Primary {
			p = e
		} else {
			r = &e
		}
	}
	return p, r
}

// user returns the name of the user that the replica of this generation and epoch logs in as.
func (d Document) user() string { return fmt.Sprintf("%s%d-%d", replicaUsers, d.Generation, d.Epoch) }

const replicaUsers = "crawlbox-replica-"

// epochOf returns the epoch in the name of a user, 0 where it has none.
func epochOf(user string) (epoch int) {
	generation := 0
	_, _ = fmt.Sscanf(user, replicaUsers+"%d-%d", &generation, &epoch)
	return epoch
}

// userPassword returns the password of that.
func (d Document) userPassword() string { return d.sign(d.user()) }

// sign returns what only who knows the password can make of a text.
func (d Document) sign(text string) string {
	mac := hmac.New(sha256.New, []byte(d.Password))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// promote returns the document with the other engine as primary, of the next epoch.
func (d Document) promote(e Engine) Document {
	d.Epoch, d.Primary, d.Fenced, d.InSync = d.Epoch+1, e.Slot, false, false
	return d
}

// Store keeps the document. *state.Document is one.
type Store interface {
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
	Changed() <-chan struct{}
}

// Load reads the document: the zero one where there is none yet.
func Load(store Store) (d Document, err error) {
	data, err := store.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, err
	}
	for i, e := range d.Engines { // a version before wrote what is wanted alone
		d.Engines[i].Memory = cmp.Or(e.Memory, d.Wanted.Memory)
	}
	return d, nil
}

// errChanged is returned by save where another manager was faster.
var errChanged = errors.New("another manager has changed where the queue's Valkey is")

// save replaces the document was by next.
func save(store Store, was, next Document, message string) (_ Document, err error) {
	next.Change = was.Change + 1
	if next.Password == "" {
		next.Password = rand.Text()
	}
	if next.Keys == (Keys{}) {
		if next.Keys, err = newKeys(); err != nil {
			return was, err
		}
	}
	return next, store.Update(message, func(data []byte) ([]byte, error) {
		var is Document
		if data != nil {
			if err := json.Unmarshal(data, &is); err != nil {
				return nil, err
			}
		}
		if is.Change != was.Change {
			return nil, errChanged
		}
		return json.Marshal(next)
	})
}
