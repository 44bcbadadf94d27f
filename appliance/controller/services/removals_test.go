package services

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// paper is a Document in memory.
type paper struct{ data []byte }

func (p *paper) Load() ([]byte, error) {
	if p.data == nil {
		return nil, fs.ErrNotExist
	}
	return p.data, nil
}

func (p *paper) Update(_ string, fn func([]byte) ([]byte, error)) (err error) {
	p.data, err = fn(p.data)
	return err
}

// What a person removed stays away, over restarts, until its definition changes or it is let back.
func TestRemovals(t *testing.T) {
	t.Parallel()
	doc := &paper{}
	file := func(hashes ...string) (cfg configs.Config) {
		for i, hash := range hashes {
			cfg.Services = append(cfg.Services, compose.Service{Name: string(rune('a' + i)), Hash: hash})
		}
		return cfg
	}
	restarted := func(cfg configs.Config) *Controller {
		c := pastOf(t, nil)
		c.removals.doc = doc
		c.setConfig(cfg)
		return c
	}
	away := func(c *Controller) (list string) {
		for _, svc := range c.Config().Services {
			if c.IsAway(svc) {
				list += svc.Name
			}
		}
		return list
	}
	c := restarted(file("1", "1", "1"))
	for _, service := range []string{"a", "b", "elsewhere"} {
		if defined, err := c.KeepAway(service, "root"); err != nil || defined != (service != "elsewhere") {
			t.Errorf("%s is defined: %v, %v", service, defined, err)
		}
	}
	if got := away(c); got != "ab" {
		t.Errorf("away are %q", got)
	}
	if got := away(restarted(file("1", "1", "1"))); got != "ab" {
		t.Errorf("after a restart away are %q", got)
	}
	if got := away(restarted(file("1", "2", "1"))); got != "a" {
		t.Errorf("once b is defined otherwise away are %q", got)
	}
	c = restarted(file("1", "2", "1"))
	if _, err := c.KeepAway("c", "root"); err != nil {
		t.Fatal(err)
	}
	if got := away(restarted(file("1", "1", "1"))); got != "ac" {
		t.Errorf("b is away again as it was defined before: %q", got)
	}
	if err := c.LetBack("a"); err != nil {
		t.Fatal(err)
	}
	if got := away(restarted(file("1", "1", "1"))); got != "c" {
		t.Errorf("a was let back, and away are %q", got)
	}
	doc.data = []byte("{")
	_, _, err := restarted(file("1")).removals.of(compose.Service{Name: "a"})
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged record: %v", err)
	}
}
