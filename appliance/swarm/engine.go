// Package swarm is the client of the Docker Engine of its node: typed
// operations on its swarm, and the snapshot of it as plain fleet values. No
// other package but image and lab sees the Docker SDK.
//
// Two rules hold for every call. It is bounded: an engine that hangs costs the
// caller's deadline or callTimeout, whichever is shorter. And it never wakes
// an engine that an operator has stopped: on systems where docker.socket would
// start Docker at any connection, the dialer asks systemd first and fails with
// ErrStopped while docker.service is not active.
package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// callTimeout bounds one request to the engine that has no nearer deadline.
const callTimeout = 30 * time.Second

var (
	// ErrStopped is returned by every call while docker.service is stopped on
	// a machine whose docker.socket would start it again.
	ErrStopped     = errors.New("docker is stopped on this machine; start it with `systemctl start docker`")
	ErrUnreachable = errors.New("no Docker Engine answers")
	// ErrNotFound is wrapped where Swarm does not know what was named.
	ErrNotFound = errors.New("not found")
	// ErrNoImage is returned where a registry does not have an image.
	ErrNoImage = errors.New("no image")
	// ErrNotManager is returned by operations that only a swarm manager can do.
	ErrNotManager = errors.New("this node is not a swarm manager")
	// errTurning is returned while Docker opens or closes what managers alone have.
	errTurning = errors.New("Swarm on this machine is about to have another role, or starts, and answers soon")
	// ErrNoLeader is returned where a swarm has too few managers to go on, or elects its leader.
	ErrNoLeader = errors.New("the swarm has no leader, since more than half of its managers have to be online: start " +
		"those that are not, or run `crawlbox recover` here where they are gone for good")
)

// IsUnreachable reports whether an error means that there is no engine to ask now, but that
// there will be one again.
func IsUnreachable(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrStopped)
}

// Engine is the Docker Engine of this node. It is safe for concurrent use.
type Engine struct {
	cli  *client.Client
	host string
}

// Open finds the engine: host if it is given, else DOCKER_HOST, else the
// current docker context, else the default socket. It does not connect.
func Open(host string) (*Engine, error) {
	ep, err := findEndpoint(host, os.Getenv)
	if err != nil {
		return nil, err
	}
	opts, err := ep.options()
	if err != nil {
		return nil, err
	}
	cli, err := client.NewClientWithOpts(append(opts, client.WithAPIVersionNegotiation())...)
	if err != nil {
		return nil, fmt.Errorf("use Docker Engine at %s: %w", ep.host, err)
	}
	return &Engine{cli: cli, host: ep.host}, nil
}

// Host returns the engine's address, such as unix:///var/run/docker.sock.
func (e *Engine) Host() string { return e.host }

// IsDefault reports whether it is where Docker has its engine on every machine.
func (e *Engine) IsDefault() bool { return e.host == client.DefaultDockerHost }

// Client returns the SDK's client of the engine, for image, which builds with it.
func (e *Engine) Client() *client.Client { return e.cli }

// Close ends idle connections to the engine.
func (e *Engine) Close() error { return e.cli.Close() }

// Ping reports whether the engine answers now.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := e.cli.Ping(ctx)
	return e.explain(err)
}

// explain gives connection failures and refusals of the engine the sentinel
// errors of this package.
func (e *Engine) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrStopped):
		return ErrStopped
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, new(*url.Error)):
		return words.Error(context.DeadlineExceeded, "the Docker Engine at %s does not answer", e.host)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrNoImage):
		return err
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no permission for the Docker Engine at %s; run as root (sudo)", e.host)
	case client.IsErrConnectionFailed(err), isDial(err):
		if e.host != client.DefaultDockerHost {
			return fmt.Errorf("%w at %s; start it, or see what DOCKER_HOST, docker.host in the config and `docker "+
				"context ls` say", ErrUnreachable, e.host)
		}
		return fmt.Errorf("%w at %s; install Docker (apt-get install docker.io) or start it (systemctl start docker)",
			ErrUnreachable, e.host)
	case isNotManager(err):
		return ErrNotManager
	case strings.Contains(err.Error(), "does not have a leader"), strings.Contains(err.Error(), "lost leader status"):
		return ErrNoLeader
	case strings.Contains(err.Error(), "swarm/control.sock"):
		return errTurning
	case cerrdefs.IsNotFound(err):
		return words.Error(ErrNotFound, "%s", words.Docker(err.Error()))
	}
	return errors.New(words.Docker(err.Error()))
}

// dialer connects to a unix socket unless that would wake a stopped engine.
func dialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		if dormant(ctx, path) {
			return nil, ErrStopped
		}
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// bounded gives ctx a deadline if it has none nearer than callTimeout.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTimeout)
}
