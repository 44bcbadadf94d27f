package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

// payload is what would be moved to a machine.
type payload struct {
	Config []byte `json:"config"` // the file
	Queue  int64  `json:"queue"`  // bytes of its journal
}

// fitsCall asks a node of any role whether it would take what would be moved to it. It changes nothing there.
var fitsCall = agent.Call[payload, agent.None]{
	Route:      agent.RouteHomeFits,
	MaxRequest: 2 * maxText, // in base64
	Timeout:    10 * time.Second,
	Valid:      func(p payload) bool { return len(p.Config) <= maxText && p.Queue >= 0 },
	Invalid:    "it can't be read what would be moved",
}

// AnswerFits answers Fits on a node.
func AnswerFits(cfg configs.Config, log *slog.Logger) agent.Handler {
	t := &taker{Config: cfg}
	return fitsCall.Handler(log, func(_ context.Context, _ agent.Peer, p payload) (none agent.None, err error) {
		if err := t.fits(p.Config); err != nil {
			return none, err
		}
		return none, t.room(p.Queue)
	})
}

// Fits asks the node at an address whether it would take what the home has whose config is given, before anything is
// changed. The error says why not.
func Fits(ctx context.Context, cfg configs.Config, addr netip.Addr) error {
	id, err := setup.JoinedAs(cfg)
	if err != nil {
		return err
	}
	text, err := config(cfg)
	if err != nil {
		return err
	}
	size, err := queueSize(cfg)
	if err != nil {
		return err
	}
	to := netip.AddrPortFrom(addr, cfg.Node.Port)
	client := agent.NewClient(func(at netip.AddrPort) bool { return at == to }, id)
	defer client.CloseIdleConnections()
	_, err = fitsCall.Ask(ctx, agent.Target{Client: client, Addr: to}, payload{Config: text, Queue: size})
	return err
}

// queueSize returns how many bytes the queue's journal has, which changes meanwhile.
func queueSize(cfg configs.Config) (size int64, err error) {
	if cfg.Queue == nil {
		return 0, nil
	}
	files, err := os.ReadDir(cfg.QueueDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("look at the queue: %w", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && isJournal(f.Name()) {
			size += info.Size()
		}
	}
	return size, nil
}
