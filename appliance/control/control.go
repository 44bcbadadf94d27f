// Package control holds the use cases behind a node's local API: what each call asks
// of Docker, the registry, the queue and the other nodes, and the words in which it
// answers people. It knows the parts of a node by what it asks of them: the node that
// has them builds it, and nothing here runs by itself.
package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Sources finds out what the images are that services name.
type Sources interface {
	// Resolve names an image with its digest. from is nil for one that the nodes get
	// without a copy.
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// History is the record of what was deployed. *history.Store is one.
type History interface {
	List(service string) []history.Entry
	Services() []string
	Source(service string) *history.Source
	Find(service string, version int) (history.Entry, bool)
	// Previous is the good version before the one that runs.
	Previous(service string) (history.Entry, bool)
}

// Numbers are those that images are given as their tags. history.Numbers is one.
type Numbers interface {
	// Next is the tag of the next image with a name, of which those given exist.
	Next(name string, existing []string) (tag string, err error)
	// Note has a tag never be the next one again.
	Note(name, tag string) error
}

// Defined holds the services of the config file. *services.Controller is one.
type Defined interface {
	Reload() error
	Config() configs.Config
	// Change brings a service to its definition.
	Change(svc compose.Service, req services.Request) deploy.Change
	// KeepAway has a service stay away that a person removes; defined says that the file has it.
	KeepAway(service, by string) (defined bool, err error)
	// LetBack undoes that.
	LetBack(service string) error
	IsAway(svc compose.Service) bool
	// Again asks for another look at what the file says and what there is.
	Again()
}

// Errors gives what the layers below return the code and the words for the API's
// clients.
type Errors struct {
	node    string        // the host name of this one
	manager func() string // the one that has the registry, the queue and the CA, for people
}

// NewErrors returns the errors of a node. manager names the manager that has the registry,
// the queue and the CA, for people.
func NewErrors(node string, manager func() string) Errors { return Errors{node, manager} }

func (e Errors) explain(err error) error {
	var said *api.Error
	switch {
	case err == nil, errors.As(err, &said):
		return err
	case errors.Is(err, swarm.ErrNotManager):
		return e.notManager()
	case errors.Is(err, swarm.ErrStopped), errors.Is(err, swarm.ErrUnreachable):
		return &api.Error{Code: api.CodeUnavailable, Message: err.Error()}
	case errors.Is(err, swarm.ErrNotFound), errors.Is(err, swarm.ErrNoImage):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error()}
	case errors.As(err, new(deploy.ConflictError)), errors.Is(err, upgrade.ErrUnderWay):
		return &api.Error{Code: api.CodeConflict, Message: err.Error()}
	}
	return &api.Error{Code: api.CodeFailed, Message: err.Error()}
}

// Explain is for use cases that have a room of their own.
func (e Errors) Explain(err error) error { return e.explain(err) }

func (e Errors) notManager() error {
	return &api.Error{
		Code: api.CodeNotManager,
		Message: fmt.Sprintf("this node is a worker; run the command on the manager %s, or make this node one there: "+
			"crawlbox node promote %s",
			e.manager(), e.node),
	}
}

// onlyOn returns the error of a call that needs a part which runs on another node.
func (e Errors) onlyOn(what string) error {
	return &api.Error{
		Code:    api.CodeNotManager,
		Message: fmt.Sprintf("%s is on the manager %s; run the command there", what, e.manager()),
	}
}

// findNode finds the node a user means: by display name, ID or its beginning,
// address, or host name where only one node has it.
func findNode(nodes []fleet.Node, ref string) (fleet.Node, error) {
	var byName []fleet.Node
	var known []string
	for _, n := range nodes {
		if n.Display == ref || n.ID == ref || n.Addr == ref {
			return n, nil
		}
		if n.Name == ref || len(ref) >= 4 && strings.HasPrefix(n.ID, ref) {
			byName = append(byName, n)
		}
		known = append(known, n.Display)
	}
	switch len(byName) {
	case 0:
		return fleet.Node{}, unknown("node", ref, known, "`crawlbox nodes` lists them")
	case 1:
		return byName[0], nil
	}
	names := make([]string, len(byName))
	for i, n := range byName {
		names[i] = n.Display
	}
	return fleet.Node{}, api.Invalid("%d nodes are called %s; name one of %s", len(byName), ref,
		strings.Join(names, ", "))
}

func findService(services []fleet.Service, ref string) (fleet.Service, error) {
	var known []string
	for _, s := range services {
		if s.Name == ref || s.ID == ref {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return fleet.Service{}, unknown("service", ref, known, "`crawlbox ls` lists them")
}

// findUsers is findService for who changes it: the cluster's own are not to be.
func findUsers(services []fleet.Service, ref string) (fleet.Service, error) {
	svc, err := findService(services, ref)
	if err == nil && svc.IsOwn() {
		return svc, api.Conflict("service %s is the cluster's own, and crawlbox keeps it as it is; queue.engine in "+
			"the config says what the queue runs on", svc.Name)
	}
	if err == nil && svc.IsRun() {
		return svc, api.Conflict("%s is a run, which ends by itself; `crawlbox run stop %[1]s` ends it", svc.Name)
	}
	return svc, err
}

// findTask finds a task by ID, or the newest one by name.
func findTask(tasks []fleet.Task, ref string) (fleet.Task, bool) {
	for _, t := range tasks { // the newest of each slot comes first
		if t.ID == ref || t.Name() == ref {
			return t, true
		}
	}
	return fleet.Task{}, false
}

// unknownTask says of what is neither a service nor a task which tasks there are, where it names one of
// a service. Otherwise it is unknown as a service.
func unknownTask(s fleet.Snapshot, ref string, unknown error) error {
	dot := strings.LastIndexByte(ref, '.')
	if dot < 1 {
		return unknown
	}
	svc, there := s.Service(ref[:dot])
	if !there {
		return unknown
	}
	var names []string
	for _, t := range s.TasksOf(svc.ID) {
		if !slices.Contains(names, t.Name()) {
			names = append(names, t.Name())
		}
	}
	if len(names) == 0 {
		return api.NotFound("unknown task %q; %s has no tasks", ref, svc.Name)
	}
	return api.NotFound("unknown task %q; %s has %s", ref, svc.Name, words.Some(names, maxNames))
}

// maxNames is how many names an error lists.
const maxNames = 5

func unknown(kind, ref string, known []string, hint string) error {
	if near := words.Nearest(ref, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return api.NotFound("unknown %s %q; %s", kind, ref, hint)
}
