package control

import (
	"context"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
)

// Backups answers api.Backups on the node that makes them.
type Backups struct {
	loop  *backups.Controller
	nodes backups.Nodes
	errs  Errors
}

// NewBackups returns what a loop makes of the cluster's backups, and nodes keep.
func NewBackups(loop *backups.Controller, nodes backups.Nodes, errs Errors) *Backups {
	return &Backups{loop, nodes, errs}
}

func (b *Backups) Backups(ctx context.Context) ([]api.BackupHolder, error) {
	holders, err := b.nodes.List(ctx)
	list := make([]api.BackupHolder, len(holders))
	for i, h := range holders {
		list[i] = api.BackupHolder{Node: h.Node.Display, Copies: make([]api.BackupCopy, len(h.Copies))}
		if h.Err != nil {
			list[i].Error = words.OneLine(h.Err.Error())
		}
		for j, c := range h.Copies {
			list[i].Copies[j] = copyOf(c)
		}
	}
	return list, b.errs.explain(err)
}

func copyOf(c backup.Copy) api.BackupCopy {
	return api.BackupCopy{Made: c.Time, By: c.Node, Epoch: c.Epoch, Size: c.Size, Content: c.Content}
}

func (b *Backups) BackUp(ctx context.Context) error { return b.errs.explain(b.loop.Now(ctx)) }

// backupAge is how long the cluster may be without a good backup.
const backupAge = time.Hour

// BackupsReport reports that the cluster has no good backup, or that a place did not get one. file is
// the config file.
func BackupsReport(state func() backups.State, file string) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) {
		s := state()
		add := func(level api.Level, text string) {
			seen.Parts = append(seen.Parts, api.Problem{Level: level, Kind: api.NoBackup, Text: words.OneLine(text)})
		}
		for _, why := range s.Places {
			add(api.Warning, why)
		}
		since := s.Good
		if since.IsZero() {
			since = seen.Started
		}
		switch {
		case s.Nodes == 0 && s.Good.IsZero() && s.Places == nil && s.Why != "":
			add(api.Note, "this machine alone has what the cluster is, and there is no backup of it elsewhere; add a "+
				"node, which keeps one, or set backup.dir or backup.command in "+file)
		case seen.Now.Sub(since) > backupAge && s.Why != "":
			add(api.Warning, fmt.Sprintf("the cluster has had no good backup since %s: %s; `crawlbox backup ls` shows "+
				"which nodes keep one", since.Local().Format(time.DateTime), s.Why))
		}
	}
}
