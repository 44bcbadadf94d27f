package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

// Phase says how far a join has come.
type Phase string

// Phases in their order. Each is on disk before what follows it begins.
const (
	PhaseNone        Phase = ""             // nothing was begun
	PhaseStarted     Phase = "started"      // may have asked a manager
	PhaseCertified   Phase = "certified"    // has an identity; may have asked Docker to join
	PhaseSwarmJoined Phase = "swarm-joined" // Docker is in the swarm
	PhaseDone        Phase = "done"
)

var phases = []Phase{PhaseNone, PhaseStarted, PhaseCertified, PhaseSwarmJoined, PhaseDone}

const journalFile = "journal.json"

// Journal remembers how far the join of this machine came, and to which cluster.
// It is for one goroutine.
type Journal struct {
	path  string
	entry journalEntry
}

type journalEntry struct {
	Cluster string `json:"cluster"`
	Phase   Phase  `json:"phase"`
}

// OpenJournal reads the journal in dir for a join to the cluster with this CA.
// The error is ErrOtherCluster where another join was begun and not left.
func OpenJournal(dir string, ca pki.KeyHash) (*Journal, error) {
	j := &Journal{path: filepath.Join(dir, journalFile), entry: journalEntry{Cluster: ca.ClusterID()}}
	data, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open join journal: %w", err)
	}
	var entry journalEntry
	err = json.Unmarshal(data, &entry)
	if err == nil && !slices.Contains(phases, entry.Phase) {
		err = fmt.Errorf("phase %q is unknown", entry.Phase)
	}
	if err != nil {
		return nil, fmt.Errorf("open join journal: %w", pki.Damaged(j.path, err))
	}
	switch {
	case entry.Cluster == j.entry.Cluster:
		j.entry = entry
	case entry.Phase != PhaseStarted:
		return nil, pki.ErrOtherCluster
	}
	// A join that only started left no trace but this: it may begin anew with the
	// right string.
	return j, nil
}

// Reached reports whether the join came as far as the phase.
func (j *Journal) Reached(p Phase) bool {
	i := slices.Index(phases, p)
	return i >= 0 && slices.Index(phases, j.entry.Phase) >= i
}

// Do runs a step and then notes the phase it leads to; a phase that was reached
// before is passed over. A step may run again after a power cut before its
// phase was noted, so it must find out itself what it did already. step may be
// nil where there is only something to note. Phases cannot be skipped.
func (j *Journal) Do(to Phase, step func() error) error {
	if j.Reached(to) {
		return nil
	}
	if i := slices.Index(phases, to); i < 1 || phases[i-1] != j.entry.Phase {
		return fmt.Errorf("join phase %q cannot follow %q", to, j.entry.Phase)
	}
	if step != nil {
		if err := step(); err != nil {
			return err
		}
	}
	entry := journalEntry{Cluster: j.entry.Cluster, Phase: to}
	data, err := json.Marshal(entry)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(j.path), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(j.path, append(data, '\n'), pki.SecretFile)
	}
	if err != nil {
		return fmt.Errorf("write join journal: %w", err)
	}
	j.entry = entry
	failpoint.Hit(failpoint.Point("join-" + to))
	return nil
}

// Forget removes the journal and the identity from dir, for a node that left.
// Cut off between two files, it can be run again, and what is left of it does
// not stand in the way of another join.
func Forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, journalFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget join journal: %w", err)
	}
	return pki.Forget(dir)
}
