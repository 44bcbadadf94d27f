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
		v.Keys = append(v.Keys, api.KeyFlow{Key: key, Type: is.Type, Len: max(0, is.Len-gone), Out: gone})
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
	return is
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
