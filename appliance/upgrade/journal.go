package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Phase is how far an upgrade of a node has come.
type Phase string

// Phases, each written down before what it says is begun.
const (
	Staged    Phase = "staged"    // the program is checked, the keeper is to be started
	Swapped   Phase = "swapped"   // the new program is in its place, the node to be restarted
	Done      Phase = "done"      // the node is ready, with the new one
	Returning Phase = "returning" // the new one is no good: the old one goes back
	Returned  Phase = "returned"  // the old one is in its place again
)

// Journal holds what is known of the last upgrade of a node.
type Journal struct {
	Phase   Phase  `json:"phase"`
	Program string `json:"program"` // the file that is replaced
	From    Offer  `json:"from"`
	To      Offer  `json:"to"`
	Reason  string `json:"reason,omitempty"` // why the old one went back
}

// ended reports whether the keeper has nothing left to do.
func (j Journal) ended() bool { return j.Phase == "" || j.Phase == Done || j.Phase == Returned }

// Underway says that the node whose directory it is is being upgraded: what installs or
// removes crawlbox there would be undone, or come in between.
func (f Directory) Underway() error {
	j, err := f.Journal()
	if err != nil || j.ended() {
		return err
	}
	return fmt.Errorf("this node is being upgraded to %s; run this again when that is over, see `systemctl status "+
		"crawlbox-upgrade`, or give it up with `systemctl stop crawlbox-upgrade && rm -r %s`", j.To.Version, f)
}

// Directory is the path at which a node keeps what it upgrades to, in its data directory.
type Directory string

func In(dataDir string) Directory { return Directory(filepath.Join(dataDir, "upgrade")) }

// Keeper returns the program of the keeper. It is there as long as the keeper has to run.
func (f Directory) Keeper() string { return filepath.Join(string(f), "keeper") }

func (f Directory) staged() string  { return filepath.Join(string(f), "crawlbox") }
func (f Directory) journal() string { return filepath.Join(string(f), "journal.json") }

// Journal reads the journal; where there is none it is empty.
func (f Directory) Journal() (j Journal, err error) {
	if _, err = durable.ReadJSON(f.journal(), &j); err != nil {
		return j, fmt.Errorf("read the journal of upgrades: %w; `rm -r %s` forgets the last one", err, f)
	}
	return j, nil
}

func (f Directory) write(j Journal) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(f.journal(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the journal of upgrades: %w", err)
	}
	return nil
}

func (f Directory) make() error { return durable.Mkdir(string(f), 0o700) }

// clean removes the programs of an upgrade that has ended.
func (f Directory) clean() error {
	// The keeper goes last: with it, what is left would be cleaned the next time.
	for _, path := range []string{f.staged(), f.Keeper()} {
		if err := durable.Remove(path); err != nil {
			return fmt.Errorf("remove what was upgraded from: %w", err)
		}
	}
	return nil
}

// forget undoes an upgrade of which nothing has begun.
func (f Directory) forget() error { return errors.Join(durable.Remove(f.journal()), f.clean()) }

// sweep removes what a power cut has left of files that were being written at paths.
// What cannot be removed takes room and does no other harm.
func sweep(paths ...string) {
	for _, path := range paths {
		_ = durable.Sweep(path)
	}
}
