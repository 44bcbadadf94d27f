package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Document keeps something over restarts. *state.Document is one.
type Document interface {
	// Load returns its content; the error is fs.ErrNotExist where there is none.
	Load() ([]byte, error)
	// Update replaces the content, nil where there is none, by what fn makes of it.
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// removal is of a service that a person removed though the config file has it.
type removal struct {
	Hash string    `json:"hash"` // of its definition then
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// removals keep services away that a person removed, until their definitions change. There are
// no more of them than services in the file. Their methods may be called at the same time.
type removals struct {
	doc Document

	mu   sync.Mutex
	read bool
	list map[string]removal // by service
}

// of returns the removal of a service as it is defined.
func (r *removals) of(svc compose.Service) (removal, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return removal{}, false, err
	}
	found, there := r.list[svc.Name]
	return found, there && found.Hash == svc.Hash, nil
}

// load reads the document once: nobody else writes it. The caller holds mu.
func (r *removals) load() error {
	if r.read || r.doc == nil {
		return nil
	}
	data, err := r.doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which services were removed by hand: %w", err)
	}
	if r.list, err = decodeRemovals(data); err != nil {
		return err
	}
	r.read = true
	return nil
}

func decodeRemovals(data []byte) (list map[string]removal, err error) {
	if data == nil {
		return nil, nil
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the record of services that were removed by hand is damaged (%w): restore the data "+
			"directory from a backup", err)
	}
	return list, nil
}

// change writes down what fn makes of the removals, without those whose services are not in the
// file as they were then.
func (r *removals) change(cfg configs.Config, fn func(list map[string]removal)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.doc == nil {
		return nil
	}
	hashes := map[string]string{}
	for _, svc := range cfg.Services {
		hashes[svc.Name] = svc.Hash
	}
	return r.doc.Update("keep away what was removed by hand", func(data []byte) ([]byte, error) {
		list, err := decodeRemovals(data)
		if err != nil {
			return nil, err
		}
		if list == nil {
			list = map[string]removal{}
		}
		maps.DeleteFunc(list, func(service string, was removal) bool { return hashes[service] != was.Hash })
		fn(list)
		r.list, r.read = list, true
		return json.Marshal(list)
	})
}

// KeepAway has a service of the config file stay away that a person removes now, until its
// definition changes or somebody deploys it. It reports whether the file has it.
func (c *Controller) KeepAway(service, by string) (defined bool, err error) {
	cfg := c.Config()
	i := slices.IndexFunc(cfg.Services, func(d compose.Service) bool { return d.Name == service })
	if i < 0 {
		return false, nil
	}
	return true, c.removals.change(cfg, func(list map[string]removal) {
		list[service] = removal{Hash: cfg.Services[i].Hash, By: by, At: time.Now().UTC()}
	})
}

// LetBack undoes KeepAway.
func (c *Controller) LetBack(service string) error {
	return c.removals.change(c.Config(), func(list map[string]removal) { delete(list, service) })
}

// IsAway reports whether a service of the config file is kept away.
func (c *Controller) IsAway(svc compose.Service) bool {
	_, away, err := c.removals.of(svc)
	return away && err == nil
}
