// Package home moves what one manager of a cluster alone has to another one: the config file, and the queue
// with what is in it. It is planned: both managers are there, and no spider stops.
//
//	here:  stop the queue ─▶ send all ─▶ ask there to take it ─▶ be a manager as any other
//	there: keep aside what is sent ─────▶ make it its own ──────▶ be the home
//
// Each step is written down before it is made, so that either may be killed at any moment. Until the other is
// asked to take it, it stays here, and a move that fails is undone; from then on the other alone says whether
// it has it, and this one waits for that: the queue is never at two places, and never at none that has it.
//
// Clients of the queue wait and try again meanwhile. Those that know the address before reach the queue there
// as long as that machine is a node: it passes their connections on (relay.go).
package home

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// moveFile is in the data directory of the home from when a move was decided on until it is over.
	moveFile = "move.json"
	// movedFile is there once the home is elsewhere, and says where.
	movedFile = "moved.json"
	// takenFile is at the new home, and says which move made it that.
	takenFile = "home.json"
	// demoteFile has Swarm's ID of the manager that a move, which is over, has yet to make a worker.
	demoteFile = "demote.json"
)

// Move is a move that was decided on.
type Move struct {
	ID    string     `json:"id"`
	Begun time.Time  `json:"begun"`
	Name  string     `json:"name"` // of the machine that is to be the home
	Addr  netip.Addr `json:"addr"` // where it is
	// Own and Node are Swarm's IDs of this machine, which is a worker after the move, and of the other, which is one
	// again after a move that fails, where Promoted says that it was one before.
	Own      string `json:"own,omitempty"`
	Node     string `json:"node,omitempty"`
	Promoted bool   `json:"promoted,omitempty"`
	// Asked is set before the other is asked to take it: from then on the home may be there.
	Asked bool `json:"asked,omitempty"`
	// Taken is set where the home is elsewhere, without a word from here: nobody is asked.
	Taken bool `json:"taken,omitempty"`
}

// New returns a move to a machine.
func New(name string, addr netip.Addr) Move {
	return Move{ID: rand.Text(), Begun: time.Now().UTC(), Name: name, Addr: addr}
}

// Load returns the move that is under way at a data directory, nil where none is.
func Load(dataDir string) (*Move, error) { return load(dataDir, moveFile) }

// Moved returns where the home went that was at a data directory, nil where it went nowhere.
func Moved(dataDir string) (*Move, error) { return load(dataDir, movedFile) }

func load(dataDir, file string) (*Move, error) {
	m := &Move{}
	found, err := durable.ReadJSON(filepath.Join(dataDir, file), m)
	if err != nil {
		return nil, fmt.Errorf("read where the queue is moved to: %w", err)
	}
	if !found {
		return nil, nil
	}
	return m, nil
}

// maxBefore bounds the homes before that are remembered; the oldest gives way.
const maxBefore = 8

// Before returns at which addresses services may still know the queue of the home at a data directory: those of
// the homes before, which pass connections on.
func Before(dataDir string) (list []netip.Addr) {
	text, err := os.ReadFile(filepath.Join(dataDir, beforeName))
	if err != nil {
		return nil // none
	}
	for line := range strings.Lines(string(text)) {
		if addr, err := netip.ParseAddr(strings.TrimSpace(line)); err == nil && len(list) < maxBefore {
			list = append(list, addr)
		}
	}
	return list
}

// numberName has the number of a home: each has a higher one than that before, where that was not asked to go.
const numberName = "home.number"

// Number returns the number of the home in a directory, 0 where it is the first.
func Number(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, numberName))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(0, n)
}

// WriteNumber has the home in a directory have a number.
func WriteNumber(dir string, n int) error {
	if err := durable.WriteFile(filepath.Join(dir, numberName), []byte(strconv.Itoa(n)), 0o600); err != nil {
		return fmt.Errorf("keep which home of the queue this is: %w", err)
	}
	return nil
}

// known returns, for the next home, the addresses of this one and of those before, the newest first.
func known(cfg configs.Config) (text []byte, err error) {
	r, err := setup.LoadRecord(setup.RecordPath(cfg))
	if err != nil {
		return nil, err
	}
	for _, addr := range append([]netip.Addr{r.Addr}, Before(cfg.DataDir)...) {
		text = fmt.Appendln(text, addr)
	}
	return text, nil
}

// Gone returns the move of a home that another manager has taken over, which has a name and an address.
func Gone(id, name string, addr netip.Addr) Move {
	return Move{ID: id, Begun: time.Now().UTC(), Name: name, Addr: addr, Asked: true, Taken: true}
}

// Save has the node at a data directory move its home.
func (m Move) Save(dataDir string) error { return m.save(dataDir, moveFile) }

func (m Move) save(dataDir, file string) error {
	if err := durable.WriteJSON(filepath.Join(dataDir, file), m); err != nil {
		return fmt.Errorf("keep where the queue is moved to: %w", err)
	}
	return nil
}
