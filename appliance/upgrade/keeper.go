package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

const (
	// ReadyTimeout bounds how long a node may take to be ready again.
	ReadyTimeout = 2 * time.Minute
	// SteadyTime is how long it then has to stay up: a version that crashes as soon as
	// it works would else be brought onto all nodes.
	SteadyTime = 3 * time.Second
)

// Service is a node as the keeper sees it.
type Service interface {
	// Restart ends the node and begins to start it with the program that is in place.
	Restart(ctx context.Context) error
	// Await returns nil when the node is ready, and an error when it is known not to
	// become so, or ctx ends.
	Await(ctx context.Context) error
	// Program returns where the program of the running node can be read, also when
	// its file was replaced; it is another place after each start. The error is that
	// it does not run.
	Program(ctx context.Context) (path string, err error)
}

// Keeper brings the upgrade of a node to its end, beside the node.
type Keeper struct {
	Directory Directory
	Service   Service
	Timeout   time.Duration // of each start, ReadyTimeout but in tests
	Steady    time.Duration // of the new version, SteadyTime but in tests
	Log       *slog.Logger
}

// BackupPath returns where the program that was replaced stays, as the way back.
func BackupPath(program string) string { return program + ".old" }

// Run goes on from where the journal is. It returns nil when the upgrade has come to
// its end, well or not. After an error it is to be run again.
func (k Keeper) Run(ctx context.Context) error {
	j, err := k.Directory.Journal()
	if err != nil {
		return err
	}
	if !j.ended() {
		sweep(k.Directory.journal(), j.Program, BackupPath(j.Program))
	}
	for !j.ended() {
		if err := ctx.Err(); err != nil {
			return err
		}
		k.Log.Info("upgrade of this node", "phase", j.Phase, "from", j.From.Version, "to", j.To.Version)
		next, err := k.step(ctx, j)
		if err != nil {
			return err
		}
		if err := k.Directory.write(next); err != nil {
			return err
		}
		j = next
	}
	if j.Reason != "" {
		k.Log.Warn("the upgrade of this node was taken back", "to", j.To.Version, "reason", j.Reason)
	}
	return k.Directory.clean()
}

func (k Keeper) step(ctx context.Context, j Journal) (Journal, error) {
	switch j.Phase {
	case Staged:
		failpoint.Hit(failpoint.UpgradeStaged)
		return k.swap(j), nil
	case Swapped:
		failpoint.Hit(failpoint.UpgradeSwapped)
		return k.start(ctx, j)
	case Returning:
		failpoint.Hit(failpoint.UpgradeReturning)
		return k.goBack(ctx, j)
	}
	return j, fmt.Errorf("the journal of upgrades has an unknown phase %q; remove the directory %s", j.Phase,
		k.Directory)
}

// swap puts the new program in its place, and the old one beside it.
func (k Keeper) swap(j Journal) Journal {
	err := k.keepOld(j)
	if err == nil {
		err = replace(j.Program, k.Directory.staged(), j.To.SHA256)
	}
	if err != nil {
		j.Phase, j.Reason = Returning, "the program could not be replaced: "+err.Error()
		return j
	}
	failpoint.Hit(failpoint.UpgradeReplaced)
	j.Phase = Swapped
	return j
}

// keepOld leaves what it finds where the program is the new one already: the swap was
// cut off.
func (k Keeper) keepOld(j Journal) error {
	if sum, _, err := Sum(j.Program); err != nil || sum != j.From.SHA256 {
		return err
	}
	return replace(BackupPath(j.Program), j.Program, j.From.SHA256)
}

// start restarts the node, unless the new program runs already.
func (k Keeper) start(ctx context.Context, j Journal) (Journal, error) {
	err := k.restart(ctx, j.To)
	if err != nil {
		err = fmt.Errorf("%s did not become ready: %w", j.To.Version, err)
	} else if err = k.staysUp(ctx); err != nil {
		err = fmt.Errorf("%s was ready and did not stay so for %s: %w", j.To.Version, k.Steady, err)
	}
	if ctx.Err() != nil {
		return j, ctx.Err() // nothing is known of the program
	}
	j.Phase = Done
	if err != nil {
		j.Phase, j.Reason = Returning, err.Error()
	}
	return j, nil
}

// staysUp waits, and wants the same process to run then.
func (k Keeper) staysUp(ctx context.Context) error {
	before, err := k.Service.Program(ctx)
	if err != nil {
		return err
	}
	if err := clock.Sleep(ctx, k.Steady); err != nil {
		return err
	}
	now, err := k.Service.Program(ctx)
	if err == nil && now != before {
		err = errors.New("it has ended and was started again")
	}
	return err
}

// goBack ends with the old program in its place, of which the keeper's is a copy. It
// does so whether the node then starts or not: it did before, and goes on trying.
func (k Keeper) goBack(ctx context.Context, j Journal) (Journal, error) {
	if sum, _, err := Sum(j.Program); err != nil || sum != j.From.SHA256 {
		if err := k.putBack(j); err != nil {
			return j, fmt.Errorf("put the old program back: %w", err)
		}
	}
	err := k.restart(ctx, j.From)
	if ctx.Err() != nil {
		return j, ctx.Err()
	}
	if err != nil {
		j.Reason += fmt.Sprintf("; and %s is not ready yet: %v", j.From.Version, err)
	}
	j.Phase = Returned
	return j, nil
}

// putBack takes the program that was kept beside if it is the old one, which takes no
// room on the disk: that it is full may be why the new one does not start.
func (k Keeper) putBack(j Journal) error {
	backup := BackupPath(j.Program)
	if sum, _, err := Sum(backup); err == nil && sum == j.From.SHA256 {
		if err := durable.Link(j.Program, backup); err == nil {
			return nil
		}
	}
	return replace(j.Program, k.Directory.Keeper(), j.From.SHA256)
}

// restart has the node run a program, and waits until it is ready with it.
func (k Keeper) restart(ctx context.Context, want Offer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, k.Timeout, fmt.Errorf("waited %s", k.Timeout))
	defer cancel()
	if !k.runs(ctx, want) {
		if err := k.Service.Restart(ctx); err != nil {
			return err
		}
	}
	if err := k.Service.Await(ctx); err != nil {
		return err
	}
	if !k.runs(ctx, want) {
		return errors.New("another program runs in its place")
	}
	return nil
}

func (k Keeper) runs(ctx context.Context, want Offer) bool {
	path, err := k.Service.Program(ctx)
	if err != nil {
		return false
	}
	sum, _, err := Sum(path)
	return err == nil && sum == want.SHA256
}

// replace puts a copy of a program in the place of another, as a whole, if it has the
// checksum.
func replace(to, from, sum string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return install(to, f, 0o755, Offer{SHA256: sum})
}

// install writes a program as a whole, if it is what is wanted; a size of zero is any.
func install(to string, from io.Reader, mode os.FileMode, want Offer) error {
	file, err := durable.Create(to, mode)
	if err != nil {
		return err
	}
	//lint:ignore errcheck it removes what was not kept
	defer file.Cleanup()
	limit := want.Size
	if limit == 0 {
		limit = MaxSize
	}
	sum, size, err := copySum(file, io.LimitReader(from, limit+1))
	switch {
	case err != nil:
		return err
	case want.Size != 0 && size != want.Size:
		return fmt.Errorf("it has another size than the %d bytes that it should have", want.Size)
	case sum != want.SHA256:
		return fmt.Errorf("its SHA-256 is %s, it should be %s", sum, want.SHA256)
	}
	return file.Replace()
}
