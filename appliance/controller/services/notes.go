package services

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// NoteKind says what a Note is of.
type NoteKind int

// Kinds of notes.
const (
	Broken      NoteKind = iota // the file can't be read, or not be understood
	Late                        // what it says of other things than services counts after a restart
	NotInForce                  // nor are the file's services in force, but another manager's
	Unready                     // the last round did not come to its end
	Untaken                     // a service is not what the file says
	Foreign                     // nor is one that was made otherwise and has its name
	Gone                        // a service left the file and runs on
	Removed                     // a service was removed by hand, and is kept away
	NotDeployed                 // a service has no image yet
	AsDefined                   // a service is what the file says; there is no text
)

// Note is what is known of the config file, or of a service and the file.
type Note struct {
	Service string // empty: the file
	Kind    NoteKind
	Text    string // what the user should know, in one line
}

// Notes returns what is known of the services, in order.
func (c *Controller) Notes() (list []Note) {
	if text := c.unready.Load(); text != nil {
		list = append(list, Note{Kind: Unready, Text: *text})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, service := range slices.Sorted(maps.Keys(c.notes)) {
		list = append(list, c.notes[service])
	}
	return list
}

// note keeps what the user should know of a service, and logs it once.
func (c *Controller) note(service string, kind NoteKind, text string) {
	text = strings.ReplaceAll(text, "\n", "; ")
	c.mu.Lock()
	c.notes[service] = Note{service, kind, text}
	c.mu.Unlock()
	c.logOnce(service, slog.LevelWarn, "service "+service+": "+text)
}

// clearNote drops what the user was to know about a service.
func (c *Controller) clearNote(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.notes, service)
	delete(c.logged, service)
	delete(c.fresh, service)
}

// wasTried drops what was to know before the definition of a service was tried. If the same comes of
// it again, that is not logged again.
func (c *Controller) wasTried(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.notes, service)
	delete(c.fresh, service)
}

// settle notes that a service is what the file says.
func (c *Controller) settle(service string) {
	c.clearNote(service)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes[service] = Note{Service: service, Kind: AsDefined}
}

// forgetOthers drops what is known of services that are neither in the file nor in the swarm.
func (c *Controller) forgetOthers(s seen) {
	known := map[string]bool{}
	for _, d := range s.config.Services {
		known[d.Name] = true
	}
	for _, svc := range s.snapshot.Services {
		known[svc.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.notes, func(service string, _ Note) bool { return !known[service] })
}
