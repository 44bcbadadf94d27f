package apitest

import (
	"context"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/api"
)

// Alerts returns one that was told, one that waits, one that is over, and channels that fail.
func (c *Cluster) Alerts(context.Context) (v api.AlertsSeen, err error) {
	if err := c.manager(); err != nil {
		return v, err
	}
	defer c.mu.Unlock()
	v.Silences = slices.Clone(c.silences)
	is := alerts.State{Silences: c.silences}
	for _, one := range []alerts.Alert{{
		Fact:  alerts.Fact{Rule: "node-down", Subject: "h3", Severity: alerts.Bad, Text: "node h3 is down"},
		Since: c.now.Add(-time.Hour), Told: c.now.Add(-time.Hour),
	}, {
		Fact:  alerts.Fact{Rule: "backup-old", Subject: "backup", Severity: alerts.Bad, Text: "no backup for 2 days"},
		Since: c.now.Add(-time.Hour), Told: c.now.Add(-time.Hour),
	}, {
		Fact:  alerts.Fact{Rule: "run-slow", Subject: "nightly", Severity: alerts.Warning, Text: "run x took 2h"},
		Since: c.now.Add(-time.Minute), Gone: c.now.Add(-time.Second),
	}} {
		v.Alerts = append(v.Alerts, api.Alert{Alert: one, Silenced: is.Silenced(one.Fact)})
	}
	v.Alerts[1].Waiting = 1
	v.Channels = []api.AlertChannel{
		{Name: "mail", Type: "smtp", Waiting: 2, Failing: c.now.Add(-time.Hour), Why: "connection refused"},
		{Name: "ops", Type: "slack"},
		{Name: "pager", Type: "webhook", Why: "open /etc/crawlbox/pager: no such file or directory"},
	}
	v.Deadman, v.Lost = &api.Deadman{Called: c.now.Add(-time.Minute)}, 1
	return v, nil
}

func (c *Cluster) TestAlerts(_ context.Context, channel string) ([]api.AlertTest, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	list := []api.AlertTest{{Channel: "mail", Error: "connection refused"}, {Channel: "ops"}}
	list = slices.DeleteFunc(list, func(t api.AlertTest) bool { return channel != "" && t.Channel != channel })
	if len(list) == 0 {
		return nil, fail(api.CodeNotFound, "unknown channel %q; there is mail, ops", channel)
	}
	return list, nil
}

func (c *Cluster) SilenceAlerts(_ context.Context, req api.SilenceRequest) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.silences = append(c.silences, alerts.Silence{
		Of: req.Of, Until: c.now.Add(req.For), By: "root@h1", Reason: req.Reason,
	})
	return nil
}

func (c *Cluster) UnsilenceAlerts(_ context.Context, of string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	n := len(c.silences)
	c.silences = slices.DeleteFunc(c.silences, func(s alerts.Silence) bool { return s.Of == of })
	if len(c.silences) == n {
		return fail(api.CodeNotFound, "there is no silence of %q; `crawlbox alerts ls` lists them", of)
	}
	return nil
}
