package control

import (
	"errors"
	"fmt"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

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
