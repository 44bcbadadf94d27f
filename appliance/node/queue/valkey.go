package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/valkey"
	"github.com/crawlbox/crawlbox/configs"
)

// wanting is the part of the home that says in the cluster's state what the config says of Valkey, if anything, and has
// the queue's process follow it. Where there is to be none any longer, said is called: the leader may have pointed at
// it until then.
func wanting(
	doc valkey.Store, c configs.Queue, process *queueproc.Supervisor, said func(), log *slog.Logger,
) lifecycle.Part {
	var want valkey.Wanted
	if c.Engine == configs.EngineValkey {
		memory := cmp.Or(int64(c.MaxMemory), queueproc.DefaultMemory())
		want = valkey.Wanted{Image: c.Image, Port: c.EnginePort, Memory: memory}
	}
	return lifecycle.Background("Valkey that is wanted", func(ctx context.Context) error {
		for {
			err := valkey.Want(doc, want)
			if err == nil {
				break
			}
			log.Debug("failed to say what the config says of Valkey", "error", err)
			if clock.Sleep(ctx, retry) != nil {
				return nil
			}
		}
		if want != (valkey.Wanted{}) {
			follow(ctx, doc, process)
		} else {
			said()
		}
		<-ctx.Done()
		return nil
	})
}

// follow has a process follow the primary until ctx ends.
func follow(ctx context.Context, doc valkey.Store, process *queueproc.Supervisor) {
	var last queueproc.Engine
	for {
		changed := doc.Changed()
		if d, err := valkey.Load(doc); err == nil && d.Primary != 0 && engineIn(d) != last {
			last = engineIn(d)
			process.SetEngine(last)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Point has what is published name Valkey's primary, to which the front of each node gets without the home.
func Point(doc Document, d valkey.Document) error {
	to := engineIn(d)
	if f := load(doc).Front; f == nil || f.Engine == to {
		return nil // its home has not begun, or that is so
	}
	return doc.Update("say which Valkey the queue is on", func(data []byte) ([]byte, error) {
		p, err := parse(data)
		if err != nil || p.Front == nil {
			return data, err
		}
		p.Front.Engine = to
		return json.Marshal(p)
	})
}

// engineIn returns the primary, as the queue's process gets to it.
func engineIn(d valkey.Document) queueproc.Engine {
	e, _ := d.At(d.Primary)
	user, password := d.Front()
	return queueproc.Engine{
		Name:        "valkey on " + e.Name,
		Addr:        e.Addr.String(),
		Host:        valkey.ServerName,
		CA:          d.Keys.CA,
		Certificate: d.Keys.Client.Certificate,
		Key:         d.Keys.Client.Key,
		User:        user,
		Password:    password,
		Epoch:       uint64(d.Epoch),
	}
}
