package setup

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// leftFile has the registries of clusters that this machine has left, a name each line:
// its Docker has their images still.
const leftFile = "registries"

// ofCluster are the names in the data directory of what other rooms keep there of one cluster: a move of the queue
// and where it went, a recovery, a restore and its notice. A machine that makes or joins another cluster must know
// none of it. What is not here stays: images, the queue and its password, the audit log, and sealed backups, each of
// which says of which cluster it is.
var ofCluster = []string{
	"move.json", "moved.json", "home.json", "moving", "queue.before", "demote.json", // package home
	"home.number", "queue.copy", "queue.home", "queue.taken", // package standby
	"tasklogs", "tasklogs.ends", // package logs of the node
	"recover.json",                    // package recovery
	"restore.json",                    // package restore
	noticeFile, noticeFile + followed, // of the home; that of a node that joined is in its directory
}

// ForgetCluster removes what a machine keeps of its cluster beside the state, its identity and its record. Without a
// data directory it keeps none, and nothing where the program happens to be is removed for it.
func ForgetCluster(cfg configs.Config) error {
	if cfg.DataDir == "" {
		return nil
	}
	var errs []error
	for _, name := range ofCluster {
		errs = append(errs, os.RemoveAll(filepath.Join(cfg.DataDir, name)))
	}
	notice := filepath.Join(NodeDir(cfg), noticeFile)
	return errors.Join(append(errs, os.RemoveAll(notice), os.RemoveAll(notice+followed))...)
}

// Registries returns the names, HOST:PORT, under which this node's engine has images of
// the cluster's registry, or of those of clusters that it has left.
func Registries(cfg configs.Config) []string {
	port := strconv.Itoa(int(cfg.Registry.Port))
	names := []string{"127.0.0.1:" + port, "localhost:" + port}
	if left, err := os.ReadFile(filepath.Join(cfg.DataDir, leftFile)); err == nil {
		names = append(names, strings.Fields(string(left))...)
	}
	add := func(a netip.Addr) { names = append(names, netip.AddrPortFrom(a, cfg.Registry.Port).String()) }
	if r, err := LoadRecord(filepath.Join(cfg.DataDir, RecordFile)); err == nil && r.Addr.IsValid() {
		add(r.Addr)
	}
	if id, err := pki.LoadIdentity(NodeDir(cfg)); err == nil {
		for _, m := range id.Membership().Managers {
			add(m.Addr())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// managersRegistries returns the names under which the managers' registry is pulled from.
func managersRegistries(cfg configs.Config, id *pki.Identity) (list []string) {
	for _, m := range id.Membership().Managers {
		list = append(list, netip.AddrPortFrom(m.Addr(), cfg.Registry.Port).String())
	}
	return list
}

// keepRegistries writes down whose images Docker has, before the node forgets it.
func keepRegistries(cfg configs.Config) error {
	text := strings.Join(Registries(cfg), "\n") + "\n"
	return durable.WriteFile(filepath.Join(cfg.DataDir, leftFile), []byte(text), 0o600)
}

// Forget takes from this machine what nodes leave outside of their data directory: the
// trust of Docker in their registries, the local API's socket, containers of tasks
// that ended before Docker left the swarm and, where images are given up too, the
// images of those registries and the network of a swarm.
func Forget(ctx context.Context, cfg configs.Config, registries []string, images bool) error {
	errs := []error{pki.RemoveAllCAs(pki.CertsDir)}
	if err := os.Remove(cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	engine, err := swarm.Open(cfg.Docker.Host)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer engine.Close()
	info, err := engine.Info(ctx)
	switch {
	case swarm.IsUnreachable(err) && !images: // no node of this cluster is there then
		err = nil
	case err == nil:
		err = forgetInDocker(ctx, engine, info.State == swarm.StateInactive, registries, images)
	}
	return errors.Join(append(errs, err)...)
}

// forgetInDocker leaves to a swarm what is a swarm's, if Docker is in one still. What can't be
// removed does not keep the rest from being.
func forgetInDocker(ctx context.Context, engine *swarm.Engine, alone bool, registries []string, images bool) error {
	var errs []error
	if alone {
		errs = append(errs, engine.RemoveTasks(ctx))
	}
	if !images {
		return errors.Join(errs...)
	}
	list, err := engine.ImagesOf(ctx, registries)
	errs = append(errs, err)
	for _, image := range list {
		errs = append(errs, engine.RemoveImage(ctx, image))
	}
	if alone {
		errs = append(errs, engine.RemoveNetwork(ctx, swarm.BridgeNetwork))
	}
	return errors.Join(errs...)
}
