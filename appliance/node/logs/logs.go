// Package logs is the logs of tasks on a node, as the node puts them together: what is kept here, what keeps it, and on
// managers what is kept of others. It is a room of its own since a node is the same with it and without: where the
// files can't be opened, nothing is kept, and all else goes on.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/agent"
	agentlogs "github.com/crawlbox/crawlbox/appliance/agent/logs"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/logkeeper"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// Directories in the data directory: what tasks of this node wrote, and the ends of logs of all nodes.
const (
	own    = "tasklogs"
	copies = "tasklogs.ends"
)

const (
	// maxOwn and maxCopies bound them, in bytes, and ownShare and copiesShare by the size of the disk.
	maxOwn      = 5 << 30
	maxCopies   = 256 << 20
	ownShare    = 20
	copiesShare = 100
)

// Logs are those of a node.
type Logs struct {
	dir   string
	name  string
	store *logstore.Store
	log   *slog.Logger
	nodes atomic.Pointer[agentlogs.Nodes] // whose logs are read here; nil: not on this node
}

// Open opens what a node, by its name, keeps in its data directory.
func Open(cfg configs.Config, name string, log *slog.Logger) *Logs {
	l := &Logs{dir: cfg.DataDir, name: name, log: log}
	l.store = l.open(own, maxOwn, ownShare)
	return l
}

func (l *Logs) open(name string, most, share int64) *logstore.Store {
	if l.dir == "" {
		return logstore.None()
	}
	s, err := logstore.Open(filepath.Join(l.dir, name), min(most, disk.Size(l.dir)/share), l.log)
	if err != nil {
		l.log.Warn("no logs of tasks are kept here; see what is wrong with the data directory", "error", err)
		return logstore.None()
	}
	return s
}

// Answers returns what the node answers managers.
func (l *Logs) Answers() []agent.Handler { return agentlogs.Answer(l.store, l.log) }

// Part keeps logs. A manager has peers, whose logs it reads and keeps the ends of.
func (l *Logs) Part(e *swarm.Engine, peers *agent.Peers) lifecycle.Part {
	return lifecycle.Background("logs", func(ctx context.Context) error {
		var all errgroup.Group
		all.Go(func() error { return logkeeper.New(logkeeper.Docker(e), l.store, l.name, l.log).Run(ctx) })
		if peers == nil {
			return errors.Join(os.RemoveAll(filepath.Join(l.dir, copies)), all.Wait())
		}
		nodes := &agentlogs.Nodes{
			Peers:  peers,
			Swarm:  e,
			Copies: l.open(copies, maxCopies, copiesShare),
			Log:    l.log,
		}
		l.nodes.Store(nodes)
		defer l.nodes.Store(nil)
		all.Go(func() error { return nodes.Collect(ctx) })
		return all.Wait()
	})
}

// Read implements control.Kept.
func (l *Logs) Read(ctx context.Context, v agentlogs.View) (tasks int, err error) {
	nodes := l.nodes.Load()
	if nodes == nil {
		return 0, nil
	}
	return nodes.Read(ctx, v)
}
