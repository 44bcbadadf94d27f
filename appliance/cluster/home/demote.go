package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// demoteLater has the node at a data directory make a manager a worker once it runs, by Swarm's ID; empty: nobody.
func demoteLater(dataDir, id string) error {
	if id == "" {
		return nil
	}
	if err := durable.WriteFile(filepath.Join(dataDir, demoteFile), []byte(id), 0o600); err != nil {
		return fmt.Errorf("keep who is to be a worker after the move: %w", err)
	}
	return nil
}

// Demotes reports whether the node at a data directory has yet to make a manager a worker after a move.
func Demotes(dataDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dataDir, demoteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, err
}

// demote does that, until it is done or ctx ends: Swarm needs a majority of its managers for it. The manager that
// leads changes what the other knew. After a move that succeeded the home first has to be up, as far as serves waits
// for that: the cluster has a manager that answers at any time.
func demote(ctx context.Context, dataDir string, serves func(context.Context) error,
	setRole func(ctx context.Context, id, role string) error, log *slog.Logger) {
	path := filepath.Join(dataDir, demoteFile)
	id, err := os.ReadFile(path)
	if err != nil {
		return // nobody
	}
	if err := serves(ctx); err != nil && ctx.Err() == nil {
		log.Info("the home of the queue has not come up yet; this node goes on", "error", err)
	}
	for said := ""; ; said = fmt.Sprint(err) {
		err = setRole(ctx, string(id), fleet.RoleWorker)
		if err == nil || errors.Is(err, swarm.ErrNotManager) || errors.Is(err, swarm.ErrNotFound) {
			break // it is, or somebody has made it that
		}
		if fmt.Sprint(err) != said && ctx.Err() == nil {
			log.Warn("failed to make a manager a worker after the move of the queue; will retry", "error", err)
		}
		if clock.Sleep(ctx, retry) != nil {
			return
		}
	}
	if err := durable.Remove(path); err != nil {
		log.Warn("failed to note that a move of the queue is over", "error", err)
	}
}
