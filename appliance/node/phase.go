package node

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// phase tells who wants to know what the node is about.
func (g *ground) phase(text string) {
	if g.opts.Phase != nil {
		g.opts.Phase(text)
	}
}

// announced says the name of each part when it starts.
func (g *ground) announced(parts []lifecycle.Part) []lifecycle.Part {
	list := make([]lifecycle.Part, len(parts))
	for i, p := range parts {
		list[i] = lifecycle.Part{Name: p.Name, Component: announcedPart{p.Component, func() { g.phase("starting: " + p.Name) }}}
	}
	return list
}

type announcedPart struct {
	lifecycle.Component
	say func()
}

func (p announcedPart) Run(ctx context.Context) error {
	p.say()
	return p.Component.Run(ctx)
}
