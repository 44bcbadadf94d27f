// Package demo shows crawlbox on one machine: a manager on ports of its own, a
// spider made from crawlbox's own binary, a queue, three replicas that drain
// it. When it ends, in whatever way, the machine is as it was.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	service  = "crawlbox-demo"
	items    = 30
	replicas = 3

	// crawlTimeout bounds the crawl itself, tidyTimeout the tidying after it.
	crawlTimeout = 2 * time.Minute
	tidyTimeout  = time.Minute
)

// Options say how the demo shows itself.
type Options struct {
	Out      io.Writer
	Terminal bool // Out repaints lines
	Version  string
	Log      *slog.Logger
}

// demo is one run, and what it has to take back.
type demo struct {
	Options
	engine  *swarm.Engine
	before  swarm.Info
	bridged bool // BridgeNetwork was there before
	dir     string
	cfg     configs.Config
	image   string
	digest  string // of image, once it is pushed
	queue   *redis.Client
	begun   time.Time
}

// Run runs the demo. When ctx ends it stops, tidies and returns ctx's error.
func Run(ctx context.Context, o Options) (err error) {
	if err := doctor.Root(); err != nil {
		return err
	}
	d := &demo{Options: o, begun: time.Now()}
	if err := d.look(ctx); err != nil {
		return err
	}
	defer d.engine.Close()
	defer func() { err = errors.Join(err, d.tidy()) }()
	if err := d.configure(); err != nil {
		return err
	}
	stop, err := d.startManager(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.endCrawl(ctx), stop()) }()
	return d.crawl(ctx)
}

// endCrawl removes a service that an interrupted crawl left.
func (d *demo) endCrawl(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	return d.removeService(ctx)
}

// look finds out how the machine is before anything changes.
func (d *demo) look(ctx context.Context) (err error) {
	if d.engine, err = swarm.Open(""); err != nil {
		return err
	}
	if d.before, err = d.engine.Info(ctx); err != nil {
		return err
	}
	if d.before.State != swarm.StateInactive && !d.before.Manager {
		return fmt.Errorf("this machine is a worker in a swarm; run the demo on its manager, or leave with `docker " +
			"swarm leave`")
	}
	d.bridged, err = d.engine.HasNetwork(ctx, swarm.BridgeNetwork)
	return err
}

// configure chooses a directory and ports that nobody has.
func (d *demo) configure() (err error) {
	if d.dir, err = os.MkdirTemp("", "crawlbox-demo-"); err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	c := configs.Default()
	c.DataDir, c.Socket, c.File = filepath.Join(d.dir,
		"data"), filepath.Join(d.dir, "crawlbox.sock"), filepath.Join(d.dir, "crawlbox.yaml")
	c.Registry.MinFree = 1
	c.Queue = configs.DefaultQueue()
	if d.before.State == swarm.StateInactive {
		c.AdvertiseAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	for _, port := range []*uint16{&c.Registry.Port, &c.Queue.Port, &c.Node.Port, &c.Gossip.Port} {
		if *port, err = freePort(*port, d.before.State == swarm.StateInactive); err != nil {
			return err
		}
	}
	d.cfg, d.image = c, fmt.Sprintf("localhost:%d/%s:0.01", c.Registry.Port, service)
	return nil
}

// freePort returns the usual port if it may be taken and is free, else any
// other that is.
func freePort(usual uint16, mayTake bool) (uint16, error) {
	any4 := netip.IPv4Unspecified()
	if mayTake && doctor.Port(netip.AddrPortFrom(any4, usual), "") == nil {
		return usual, nil
	}
	ln, err := doctor.Listen(netip.AddrPortFrom(any4, 0), "")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return netip.MustParseAddrPort(ln.Addr().String()).Port(), nil
}

// startManager runs a manager until stop is called.
func (d *demo) startManager(ctx context.Context) (stop func() error, err error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan error, 1)
	opts := node.Options{
		Config:     d.cfg,
		Version:    d.Version,
		Log:        d.Log,
		AdoptSwarm: d.before.State != swarm.StateInactive,
		Reload:     func() (configs.Config, error) { return d.cfg, nil },
		Ready:      func(string, api.Token, string) { close(ready) },
	}
	go func() { ended <- node.Run(running, fleet.RoleManager, opts) }()
	stop = func() error { cancel(); return <-ended }
	select {
	case <-ready:
		d.step("manager is ready: registry localhost:%d, queue on port %d", d.cfg.Registry.Port, d.cfg.Queue.Port)
		return stop, nil
	case err := <-ended:
		cancel()
		return nil, err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), stop())
	}
}

// crawl pushes the image, fills the queue, starts the replicas and watches.
func (d *demo) crawl(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, crawlTimeout)
	defer cancel()
	queue, err := api.NewClient(d.cfg.Socket).QueueAddress(ctx)
	if err != nil {
		return err
	}
	if d.queue, err = openQueue(queue.URL); err != nil {
		return err
	}
	defer d.queue.Close()
	if err := d.pushImage(ctx); err != nil {
		return err
	}
	if err := d.fill(ctx); err != nil {
		return err
	}
	if err := d.startSpider(ctx, queue.URL); err != nil {
		return err
	}
	return d.watch(ctx)
}

func (d *demo) pushImage(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	img, err := image.FromBinary(self, SpiderCommand)
	if err != nil {
		return err
	}
	if d.digest, err = image.Push(ctx, d.image, img); err != nil {
		return err
	}
	d.step("image is pushed: %s, made of this very program", d.image)
	return nil
}

// startSpider makes the service as the config file would.
func (d *demo) startSpider(ctx context.Context, queueURL string) error {
	info, err := d.engine.Info(ctx)
	if err != nil {
		return err
	}
	definition := fmt.Sprintf(`services:
  %s:
    image: %s
    environment: {%s: %q, %s: "{{.Task.Slot}}"}
    deploy:
      replicas: %d
      placement: {constraints: ["node.id==%s"]}
`, service, d.image, envQueue, queueURL, envSlot, replicas, info.NodeID)
	cfg, err := configs.Parse(d.cfg.File, []byte(definition))
	if err != nil {
		return err
	}
	spec, err := servicespec.FromConfig(cfg.Services[0])
	if err != nil {
		return err
	}
	// It is not from the manager's config, which would report it as gone.
	delete(spec.Labels, fleet.LabelManaged)
	if _, err := d.engine.Create(ctx, spec); err != nil {
		return fmt.Errorf("start the spider: %w", err)
	}
	d.step("service is created: %d replicas of %s", replicas, service)
	return nil
}

// tidy takes back what the demo made, under a bound of its own: the demo's
// context may have ended.
func (d *demo) tidy() error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout)
	defer cancel()
	var errs []error
	if d.before.State == swarm.StateInactive {
		errs = append(errs, d.engine.Leave(ctx, true))
	} else if d.before.NodeAddr.IsValid() {
		errs = append(errs, pki.RemoveCA(pki.CertsDir,
			netip.AddrPortFrom(d.before.NodeAddr, d.cfg.Registry.Port).String()))
	}
	if d.digest != "" {
		// Swarm pulled it by digest: the engine knows it by no tag.
		ref := fmt.Sprintf("localhost:%d/%s@%s", d.cfg.Registry.Port, service, d.digest)
		errs = append(errs, d.engine.RemoveContainers(ctx, service), d.engine.RemoveImage(ctx, ref))
	}
	if d.before.State == swarm.StateInactive && !d.bridged {
		errs = append(errs, d.engine.RemoveNetwork(ctx, swarm.BridgeNetwork))
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	err := errors.Join(errs...)
	if err == nil {
		d.step("machine is as it was")
	}
	return err
}

// step prints what was done, and when.
func (d *demo) step(format string, args ...any) {
	fmt.Fprintf(d.Out, "%6.1fs  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}
