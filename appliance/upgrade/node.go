package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// fetchTimeout bounds how long a node may take to get a program.
	fetchTimeout = 10 * time.Minute
	// stallTimeout bounds how long nothing of it may come, as after a power cut of the
	// manager.
	stallTimeout = 30 * time.Second
)

// ErrUnmanaged refuses the upgrade of a node that nobody would restart.
var ErrUnmanaged = errors.New("systemd does not run it; run `crawlbox install` of the new one there")

// State holds what a node says of its own program, and of its last upgrade.
type State struct {
	Version string  `json:"version"`
	SHA256  string  `json:"sha256"`  // of the program that runs
	Arch    string  `json:"arch"`    // as Go names it
	Managed bool    `json:"managed"` // there is somebody to restart it
	Busy    bool    `json:"busy"`    // it is fetching a program
	Failed  string  `json:"failed"`  // why it could not be had, or handed to the keeper
	Journal Journal `json:"journal"`
}

type Node struct {
	Directory Directory
	Version   string // of this process
	// Fetch opens a program that was offered.
	Fetch func(ctx context.Context, o Offer) (io.ReadCloser, error)
	// Keep starts the keeper of this node and returns at once; the keeper outlives
	// this process. It is nil where nobody would restart the node.
	Keep func(ctx context.Context) error
	Log  *slog.Logger

	sum func() (string, error) // of the program that runs

	mu     sync.Mutex
	offers chan Offer
	busy   bool
	taken  string // checksum of the last offer
	failed string
}

// SelfPath is the program of this process, whatever has become of its file.
const SelfPath = "/proc/self/exe"

// Init has to be called before all else.
func (n *Node) Init() *Node {
	sweep(n.Directory.staged(), n.Directory.Keeper(), n.Directory.Offered())
	if j, err := n.Directory.Journal(); err == nil && j.ended() {
		_ = n.Directory.clean() // what was fetched and not handed over; it takes room and does no other harm
	}
	n.offers = make(chan Offer, 1)
	n.sum = sync.OnceValues(func() (string, error) {
		sum, _, err := Sum(SelfPath)
		return sum, err
	})
	return n
}

// State is safe for concurrent use.
func (n *Node) State() (State, error) {
	sum, err := n.sum()
	if err != nil {
		return State{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	j, err := n.Directory.Journal() // not before it is known whether it is busy: the end of that is written down first
	if err != nil {
		return State{}, err
	}
	return State{
		Version: n.Version,
		SHA256:  sum,
		Arch:    runtime.GOARCH,
		Managed: n.Keep != nil,
		Busy:    n.busy,
		Failed:  n.failed,
		Journal: j,
	}, nil
}

// Take takes an offer up, if the node is not at it already: the command that brought it
// may have been broken off. What comes of it the state says.
func (n *Node) Take(o Offer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	j, err := n.Directory.Journal()
	switch {
	case err != nil:
		return err
	case n.Keep == nil:
		return ErrUnmanaged
	case n.busy && n.taken == o.SHA256, !j.ended() && j.To.SHA256 == o.SHA256:
		return nil
	case n.busy || !j.ended():
		return errors.New("it is being upgraded to another version")
	case o.Arch != runtime.GOARCH:
		return fmt.Errorf("it is %s and the program is for %s", runtime.GOARCH, o.Arch)
	case o.Size <= 0 || o.Size > MaxSize:
		return fmt.Errorf("the program has %d bytes", o.Size)
	}
	n.busy, n.taken, n.failed = true, o.SHA256, ""
	n.offers <- o // has room: nobody was busy
	return nil
}

// Run works on what was taken until ctx ends. It first sees to it that a keeper that
// did not come to its end goes on.
func (n *Node) Run(ctx context.Context) error {
	if j, err := n.Directory.Journal(); err == nil && !j.ended() && n.Keep != nil {
		if err := n.Keep(ctx); err != nil {
			n.Log.Warn("resuming an interrupted upgrade", "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-n.offers:
			n.setFailed(n.stage(ctx, o))
		}
	}
}

func (n *Node) setFailed(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy = false
	if err != nil {
		n.failed = err.Error()
		n.Log.Warn("failed to upgrade this node", "error", err)
	}
}

// stage fetches and checks a program and hands it to the keeper.
func (n *Node) stage(ctx context.Context, o Offer) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	j, err := n.prepare(ctx, o)
	if err != nil {
		return errors.Join(err, n.Directory.clean())
	}
	if err := n.Directory.write(j); err != nil {
		return errors.Join(err, n.Directory.clean())
	}
	if err := n.Keep(ctx); err != nil {
		return errors.Join(fmt.Errorf("start what swaps the programs: %w", err), n.Directory.forget())
	}
	return nil
}

// prepare puts both programs into the directory.
func (n *Node) prepare(ctx context.Context, o Offer) (j Journal, err error) {
	j.Phase = Staged
	if err := n.Directory.make(); err != nil {
		return j, err
	}
	if err := n.fetch(ctx, o); err != nil {
		return j, fmt.Errorf("fetch the program: %w", err)
	}
	if j.To, err = Inspect(ctx, n.Directory.staged()); err != nil {
		return j, err
	}
	if j.Program, err = os.Executable(); err != nil {
		return j, err
	}
	j.From = Offer{Version: n.Version, Arch: runtime.GOARCH}
	if j.From.SHA256, err = n.sum(); err != nil {
		return j, err
	}
	if err := replace(n.Directory.Keeper(), SelfPath, j.From.SHA256); err != nil {
		return j, fmt.Errorf("keep the old program: %w", err)
	}
	return j, nil
}

func (n *Node) fetch(ctx context.Context, o Offer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := clock.NewSilence(stallTimeout, func() { cancel(fmt.Errorf("nothing of it came for %s", stallTimeout)) })
	defer stalled.Stop()
	program, err := n.Fetch(ctx, o)
	if err == nil {
		defer program.Close()
		err = install(n.Directory.staged(), stallReader{program, stalled}, 0o700, o)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stallReader puts a timer off whenever something comes.
type stallReader struct {
	io.Reader
	stalled *clock.Silence
}

func (f stallReader) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if n > 0 {
		f.stalled.Heard()
	}
	return n, err
}
