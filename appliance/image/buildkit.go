package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/docker/docker/api/types/build"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

const (
	// probeTime bounds the question whether an engine has BuildKit.
	probeTime = 10 * time.Second
	// lateStatus is how long the last words of a build may come after its end.
	lateStatus = 3 * time.Second
	// cacheKept is how much of its cache, in bytes, an engine keeps that does not collect
	// what is old by itself. The least used goes first: above all earlier contexts, of
	// which BuildKit keeps the tar and the files.
	cacheKept = 5 << 30
	// tidyTime bounds that collection.
	tidyTime = 30 * time.Second
	// maxMessage is the size of a message in bytes, that BuildKit itself allows.
	maxMessage = 16 << 20
)

// buildKit is the BuildKit inside of a Docker Engine. It is spoken to by its control API:
// the package client of the same module does that too, but brings 1.8 MB of what a
// build here does not need.
type buildKit struct {
	conn     *grpc.ClientConn
	control  controlapi.ControlClient
	unpruned bool // keeps its cache forever, as Docker before 23 does by default
}

// openBuildKit connects to the engine's BuildKit. The error says why there is none: the
// engine has no such thing, or daemon.json turns it off, which counts unless the
// user asked for it.
func (b *Builder) openBuildKit(ctx context.Context, asked bool) (*buildKit, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	ping, err := b.engine.Ping(ctx)
	if err != nil {
		return nil, fmt.Errorf("the Docker Engine does not answer: %s", words.OneLine(err.Error()))
	}
	if ping.BuilderVersion == build.BuilderV1 && !asked {
		return nil, errors.New(`the Docker Engine builds with its classic builder ("buildkit": false in daemon.json)`)
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return b.engine.DialHijack(ctx, "/grpc", "h2c", nil)
	}
	conn, err := grpc.NewClient("passthrough:///docker", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	k := &buildKit{conn: conn, control: controlapi.NewControlClient(conn)}
	workers, err := k.control.ListWorkers(ctx, &controlapi.ListWorkersRequest{})
	if err != nil {
		k.close()
		return nil, fmt.Errorf("the Docker Engine has none (%s)", words.OneLine(status.Convert(err).Message()))
	}
	for _, w := range workers.Record {
		k.unpruned = k.unpruned || len(w.GCPolicy) == 0
	}
	return k, nil
}

func (k *buildKit) close() { _ = k.conn.Close() }

// build builds. The context, the secrets and the logins go over a session, in which BuildKit
// asks for them: none is in the request, which is kept.
func (k *buildKit) build(ctx context.Context, files io.Reader, o BuildOptions,
	see func(Progress)) (id string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := session.NewSession(ctx, "")
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	up := uploadprovider.New()
	s.Allow(up)
	s.Allow(secretsprovider.FromMap(o.Secrets))
	s.Allow(loginServer{logins: o.Logins})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Run(ctx, grpchijack.Dialer(k.control)) // BuildKit says that it misses the session
	}()
	defer func() {
		cancel()
		_ = s.Close()
		<-served
	}()

	req := o.solve()
	req.Ref, req.Session = identity.NewID(), s.ID()
	if req.FrontendInputs, err = inputs(o.Dockerfile, up.Add(io.NopCloser(files))); err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	t := newTracker(see)
	followed := k.follow(ctx, req.Ref, t)
	resp, err := k.control.Solve(ctx, req)
	followed()
	switch {
	case err == nil:
		k.tidy(ctx)
		return resp.ExporterResponse["containerimage.digest"], nil
	case status.Code(err) == codes.Unavailable:
		return "", fmt.Errorf("build: lost the Docker Engine: %s", words.OneLine(status.Convert(err).Message()))
	}
	return "", t.failure(status.Convert(err).Message())
}

// tidy keeps the cache from filling the disk. The image is there whether or not that
// works, and the next build tries again.
func (k *buildKit) tidy(ctx context.Context) {
	if !k.unpruned {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	gone, err := k.control.Prune(ctx, &controlapi.PruneRequest{All: true, ReservedSpace: cacheKept})
	for err == nil {
		_, err = gone.Recv()
	}
}

// follow hears of the steps of a build until that has ended. The function that it
// returns waits for the last of it, when the build has ended.
func (k *buildKit) follow(ctx context.Context, ref string, t *tracker) (wait func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		stream, err := k.control.Status(ctx, &controlapi.StatusRequest{Ref: ref})
		for err == nil {
			var news *controlapi.StatusResponse
			if news, err = stream.Recv(); err == nil {
				t.take(news)
			}
		}
	}()
	return func() {
		late := time.AfterFunc(lateStatus, cancel)
		<-done
		late.Stop()
		cancel()
	}
}

// solve asks for an image in the engine's store. Exporters of two generations are
// named: an engine takes the one that it knows.
func (o BuildOptions) solve() *controlapi.SolveRequest {
	attrs := map[string]string{"force-network-mode": "host"}
	for name, value := range o.Args {
		attrs["build-arg:"+name] = value
	}
	set := func(key, value string) {
		if value != "" {
			attrs[key] = value
		}
	}
	set("target", o.Target)
	set("platform", o.Platform)
	if o.NoCache {
		attrs["no-cache"] = "" // of all stages
	}
	if o.Pull {
		attrs["image-resolve-mode"] = "pull"
	}
	const store = "moby"
	image := map[string]string{}
	if o.Tag != "" {
		image["name"] = o.Tag
	}
	return &controlapi.SolveRequest{
		Frontend:                "dockerfile.v0",
		FrontendAttrs:           attrs,
		Entitlements:            []string{"network.host"},
		ExporterDeprecated:      store,
		ExporterAttrsDeprecated: image,
		Exporters:               []*controlapi.Exporter{{Type: store, Attrs: image}},
	}
}
