package apitest

import (
	"context"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Backups has the workers keep copies, one of them an older one too.
func (c *Cluster) Backups(context.Context) ([]api.BackupHolder, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	var list []api.BackupHolder
	for i, n := range c.nodes[1:] {
		h := api.BackupHolder{Node: n.Display, Copies: []api.BackupCopy{}}
		if n.State != fleet.StateReady {
			h.Error = "it is " + n.State
		} else if i < 2 {
			h.Copies = append(h.Copies, c.copyOf(0))
		}
		if i == 0 {
			h.Copies = append(h.Copies, c.copyOf(1))
		}
		list = append(list, h)
	}
	return list, nil
}

func (c *Cluster) copyOf(age int) api.BackupCopy {
	made := c.now.Add(-4 * time.Minute).Add(-time.Duration(age) * time.Hour)
	return api.BackupCopy{
		Made:    made,
		By:      c.nodes[0].Name,
		Size:    86 << 10,
		Content: strings.Repeat("0123456789abcdef"[age:age+1], 64),
	}
}

func (c *Cluster) BackUp(context.Context) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	return nil
}
