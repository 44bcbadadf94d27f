package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// asked is how many nodes are asked for the copies that they keep, together.
	asked = 16
	// fetchTimeout bounds how long they all have.
	fetchTimeout = 20 * time.Second
)

// ErrNoBackup is returned by Prepare where a new swarm is needed and nobody says what the one before had.
var ErrNoBackup = errors.New("Docker no longer says what services there were, and no node that answers keeps a " +
	"backup of them")

// Prepare returns the journal of a plan, and what a person should know of it.
func (s Situation) Prepare(ctx context.Context, cfg configs.Config, e *swarm.Engine, version string, p Plan) (Journal,
	[]string, error) {
	j := Journal{Begun: time.Now().UTC(), Epoch: s.Epoch + 1, Addr: s.Addr, InPlace: p.InPlace}
	if p.InPlace {
		j.Own = replica.Replica{Node: s.Swarm.NodeID, Name: s.Name, Addr: s.Addr, Since: j.Begun}
		j.Pending = restore.Pending{Begun: j.Begun, Made: true, Images: true}
		for _, m := range s.Others {
			j.Gone = append(j.Gone, m.ID)
			j.Pending.Before = append(j.Pending.Before, m.Addr)
		}
		return j, nil, nil
	}
	source := backup.NewSource(e, cfg, s.Name, version)
	var c backup.Content
	var err error
	var notes []string
	if s.Nodes != nil {
		c, _, err = source.Read(ctx)
	} else if c, err = sealed(ctx, cfg); err == nil {
		notes = append(notes, fmt.Sprintf("services, networks and configs come back as %s has backed them up at %s",
			c.Node, c.Time.Local().Format(time.DateTime)))
	}
	if err != nil {
		return j, nil, err
	}
	j.Pending = restore.PendingOf(c)
	j.Pending.Images, j.Pending.Before = true, nil
	for _, m := range s.Others {
		j.Pending.Before = append(j.Pending.Before, m.Addr)
	}
	if names := c.Objects.Secrets; len(names) > 0 {
		notes = append(notes, fmt.Sprintf("Docker does not give secrets back: make these again afterwards with "+
			"`docker secret create`: %s", strings.Join(names, ", ")))
	}
	return j, notes, nil
}

// sealed returns the newest backup that this machine, or a node that answers, keeps.
func sealed(ctx context.Context, cfg configs.Config) (newest backup.Content, err error) {
	view, err := state.Look(state.Dir(cfg.DataDir))
	if err != nil {
		return newest, err
	}
	key, err := backup.LookKey(view)
	if err != nil {
		return newest, err
	}
	found := false
	for _, data := range slices.Concat(kept(cfg), fetched(ctx, cfg, view)) {
		c, err := backup.Read(bytes.NewReader(data), key, nil)
		if err != nil || c.Epoch > view.Commit.Epoch {
			continue // of another cluster, or cut
		}
		if !found || c.Epoch > newest.Epoch || c.Epoch == newest.Epoch && c.Time.After(newest.Time) {
			newest, found = c, true
		}
	}
	if !found {
		return newest, ErrNoBackup
	}
	return newest, nil
}

// kept returns what this machine keeps: as a node, and where the operator wants it.
func kept(cfg configs.Config) (list [][]byte) {
	shelves := []*backup.Shelf{backup.NewShelf(cfg.DataDir)}
	if cfg.Backup.Dir != "" {
		shelves = append(shelves, &backup.Shelf{Dir: filepath.Clean(cfg.Backup.Dir)})
	}
	for _, shelf := range shelves {
		copies, err := shelf.List()
		if err != nil {
			continue
		}
		for _, c := range copies[:min(len(copies), backup.Kept)] {
			if data, err := c.Read(); err == nil {
				list = append(list, data)
			}
		}
	}
	return list
}

// fetched returns what nodes that answer keep.
func fetched(ctx context.Context, cfg configs.Config, view *state.View) (list [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	addrs := member.Addresses(view)
	addrs = addrs[:min(len(addrs), asked)]
	found := make([][]byte, len(addrs))
	var all errgroup.Group
	for i, addr := range addrs {
		all.Go(func() error {
			found[i], _ = copies.Fetch(ctx, netip.AddrPortFrom(addr, cfg.Node.Port))
			return nil
		})
	}
	_ = all.Wait()
	return slices.DeleteFunc(found, func(data []byte) bool { return data == nil })
}
