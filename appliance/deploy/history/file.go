package history

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

const extension = ".json"

// prepare makes the directory. Specs in it may hold what others must not read.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// loadAll reads all files of services, and removes what a power cut left of
// files that were being written. Other names are left alone, such as that of a
// damaged file that an operator moved out of the way.
func loadAll(dir string) (map[string][]Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the deployment history: %w", err)
	}
	all := map[string][]Entry{}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if f.Type().IsRegular() && durable.Leftover(f.Name()) {
			_ = os.Remove(path)
		}
		service, ok := strings.CutSuffix(f.Name(), extension)
		if !ok || naming.CheckService(service) != nil {
			continue
		}
		if all[service], err = load(path); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func load(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the deployment history: %w", err)
	}
	var entries []Entry
	if err = json.Unmarshal(data, &entries); err == nil {
		err = ordered(entries)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): move it away and start again; only the record of earlier "+
			"deployments is lost with it", path, err)
	}
	return entries, nil
}

// ordered checks what the rest of the package relies on.
func ordered(entries []Entry) error {
	last := 0
	for _, e := range entries {
		if e.Version <= last {
			return fmt.Errorf("version %d comes after version %d", e.Version, last)
		}
		last = e.Version
	}
	return nil
}

// save puts the entries in the place of a service's file, such that a power cut
// leaves the old file or the new one, and the new one once it has returned.
func save(dir, service string, entries []Entry) error {
	data, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, service+extension), append(data, '\n'), 0o600)
}
