package apitest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func (c *Cluster) Images(_ context.Context, nodes bool) ([]fleet.Image, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	images := slices.Clone(c.images)
	for i := range images {
		if !nodes {
			images[i].Nodes = nil
		}
	}
	return images, nil
}

func (c *Cluster) RemoveImage(_ context.Context, ref string, force bool) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	for i, img := range c.images {
		if img.Repository+":"+img.Tag != ref {
			continue
		}
		if len(img.Used) > 0 && !force {
			return fail(api.CodeConflict, "%s is what %s runs; or add --force", ref, img.Used[0])
		}
		c.images = slices.Delete(c.images, i, i+1)
		return nil
	}
	return fail(api.CodeNotFound, "unknown image %q; `crawlbox images` lists them", ref)
}

func (c *Cluster) CollectImages(context.Context) (api.GCReport, error) {
	if err := c.manager(); err != nil {
		return api.GCReport{}, err
	}
	defer c.mu.Unlock()
	return api.GCReport{Manifests: 2, Blobs: 7, Bytes: 128_000_000}, nil
}

func (c *Cluster) QueueAddress(context.Context) (api.QueueAddress, error) {
	if err := c.manager(); err != nil {
		return api.QueueAddress{}, err
	}
	defer c.mu.Unlock()
	return api.QueueAddress{
		URL:      c.queueURL,
		Addr:     "10.77.0.11:7891",
		Password: "s/ecret",
	}, nil
}

func (c *Cluster) QueueLen(_ context.Context, key string) ([]api.Items, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if key != "" {
		return []api.Items{c.items(key)}, nil
	}
	var all []api.Items
	for _, k := range slices.Sorted(maps.Keys(c.queue)) {
		all = append(all, c.items(k))
	}
	return all, nil
}

// QueueFlow answers as if an item a second had gone out of each key since New, and none had come.
func (c *Cluster) QueueFlow(_ context.Context, keys []string, most int) (v api.QueueFlow, err error) {
	if err := c.manager(); err != nil {
		return v, err
	}
	defer c.mu.Unlock()
	v.At, v.Counted = c.now.Add(time.Duration(c.flows)*time.Second), true
	all := slices.Sorted(maps.Keys(c.queue))
	if len(keys) == 0 {
		keys = all[:min(most, len(all))]
		v.More = len(all) - len(keys)
	}
	for _, key := range keys {
		is := c.items(key)
		gone := int64(c.flows)
		v.Keys = append(v.Keys, api.KeyFlow{
			Key: key, Type: is.Type, Len: max(0, is.Len-gone), Out: gone, InFlight: is.InFlight,
		})
	}
	c.flows++
	return v, nil
}

// items returns what a key is: the one of requests is a sorted set.
func (c *Cluster) items(key string) api.Items {
	is := api.Items{Key: key, Type: "list", Len: int64(len(c.queue[key]))}
	if strings.HasSuffix(key, ":requests") {
		is.Type = "zset"
	}
	if key == safeKey {
		held, dead := int64(2), int64(len(c.dead))
		is.InFlight, is.Dead = &held, &dead
	}
	return is
}

// safeKey is the only one whose pops are leases.
const safeKey = "example:swarm:spider"

func (c *Cluster) QueueInFlight(_ context.Context, key string, n int) (v api.InFlight, err error) {
	if err := c.manager(); err != nil {
		return v, err
	}
	defer c.mu.Unlock()
	v.Items = []api.HeldItem{}
	for i, task := range []string{"spider.1", "spider.2"} {
		if v.More = i == n; v.More || key != "" && key != safeKey {
			break
		}
		v.Items = append(v.Items, api.HeldItem{
			Key: safeKey, Item: "https://held.example/" + task, Container: "0123456789ab", Task: task, Node: "h2",
			Since: c.now.Add(-90 * time.Second),
		})
	}
	return v, nil
}

func (c *Cluster) QueueDead(_ context.Context, key string, n int) ([]api.Items, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if len(c.dead) == 0 || key != "" && key != safeKey {
		return nil, nil
	}
	is := api.Items{Key: safeKey, Type: "list", Len: int64(len(c.dead))}
	if key != "" {
		is.Items = slices.Clone(c.dead[:min(n, len(c.dead))])
	}
	return []api.Items{is}, nil
}

func (c *Cluster) QueueRetry(_ context.Context, dead api.Items) (api.Items, error) {
	return c.bury(dead, func(item string) { c.queue[safeKey] = append(c.queue[safeKey], item) })
}

func (c *Cluster) QueueDrop(_ context.Context, dead api.Items) (api.Items, error) {
	return c.bury(dead, func(string) {})
}

func (c *Cluster) bury(dead api.Items, do func(item string)) (api.Items, error) {
	if err := c.manager(); err != nil {
		return api.Items{}, err
	}
	defer c.mu.Unlock()
	moved := api.Items{Key: dead.Key}
	c.dead = slices.DeleteFunc(c.dead, func(item string) bool {
		gone := dead.Key == safeKey && (len(dead.Items) == 0 || slices.Contains(dead.Items, item))
		if gone {
			moved.Len++
			do(item)
		}
		return gone
	})
	return moved, nil
}

func (c *Cluster) QueuePeek(_ context.Context, key string, n int) (api.Items, error) {
	if err := c.manager(); err != nil {
		return api.Items{}, err
	}
	defer c.mu.Unlock()
	is, q := c.items(key), c.queue[key]
	is.Items = slices.Clone(q[:min(n, len(q))])
	for i := range is.Items {
		if is.Type == "zset" {
			is.Scores = append(is.Scores, float64(-10*i))
		}
	}
	return is, nil
}

func (c *Cluster) QueuePush(_ context.Context, key string, items []string) (api.Items, error) {
	if err := c.manager(); err != nil {
		return api.Items{}, err
	}
	defer c.mu.Unlock()
	c.queue[key] = append(c.queue[key], items...)
	return api.Items{Key: key, Len: int64(len(c.queue[key]))}, nil
}

func (c *Cluster) QueueClear(_ context.Context, key string) (api.Items, error) {
	if err := c.manager(); err != nil {
		return api.Items{}, err
	}
	defer c.mu.Unlock()
	is := c.items(key)
	delete(c.queue, key)
	return is, nil
}
