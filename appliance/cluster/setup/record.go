package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/configs"
)

// RecordFile is the file of a Record, in the data directory.
const RecordFile = "cluster.json"

// Record is cluster.json: the swarm that this manager made or took over. It is
// written before the swarm is made, with Begun alone, and after it, with its
// ID: so that a swarm found on the machine is known as our own whenever the
// crash came.
type Record struct {
	Begun   time.Time  `json:"begun"`
	Cluster string     `json:"cluster,omitempty"` // Swarm's ID
	Addr    netip.Addr `json:"addr"`              // advertised
	Own     bool       `json:"own,omitempty"`     // the machine has had that address; false: not known, or NAT
	path    string
}

// LoadRecord reads the record of a machine; it is empty where there is none.
func LoadRecord(path string) (*Record, error) {
	r := &Record{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("load %s: %w; restore it from a backup, or remove it and start with --adopt-swarm", path,
			err)
	}
	return r, nil
}

// RecordPath returns where the record of a machine is.
func RecordPath(cfg configs.Config) string { return filepath.Join(cfg.DataDir, RecordFile) }

// Keep makes a machine the manager that made a swarm, with Swarm's ID of it, or that makes one at its next
// start, where there is none.
func Keep(cfg configs.Config, swarm string, addr netip.Addr) error {
	r := Record{Begun: time.Now().UTC(), Cluster: swarm, Addr: addr, Own: true, path: RecordPath(cfg)}
	return r.save()
}

func (r *Record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", r.path, err)
	}
	if err := durable.WriteFile(r.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save %s: %w", r.path, err)
	}
	return nil
}
