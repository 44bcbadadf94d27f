// Package alerts holds the use cases of alerts: what there is to tell of, from all that the manager which leads knows,
// and what people ask of it. What is told, and when, is decided in appliance/alerts; nothing here remembers it.
package alerts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs"
)

// Alerts answers api.Alerts on the manager that leads.
type Alerts struct {
	Store  *alerts.Store
	Config func() (configs.Alerts, error)
	Send   func(ctx context.Context, c configs.Channel, m alerts.Message) *alerts.Failure
	// Check returns why a channel can't be used, as far as it is seen here.
	Check func(c configs.Channel) error
	// Called returns when the dead man's switch was called last, and why it was not since.
	Called  func() (at time.Time, why string)
	Explain func(error) error
}

// Alerts implements api.Alerts.
func (a *Alerts) Alerts(context.Context) (api.AlertsSeen, error) {
	c, err := a.Config()
	if err != nil {
		return api.AlertsSeen{}, a.Explain(err)
	}
	is, err := a.Store.Load()
	if err != nil {
		return api.AlertsSeen{}, a.Explain(err)
	}
	now := time.Now()
	v := api.AlertsSeen{Lost: is.Lost, Untold: is.Untold, Alerts: []api.Alert{}, Silences: []alerts.Silence{},
		Channels: []api.AlertChannel{}}
	for _, x := range is.Silences {
		if now.Before(x.Until) {
			v.Silences = append(v.Silences, x)
		}
	}
	for _, one := range is.Alerts {
		v.Alerts = append(v.Alerts, api.Alert{
			Alert:    one,
			Silenced: is.Silenced(one.Fact),
			Waiting:  waiting(one, is.Messages),
		})
	}
	for _, ch := range c.Channels {
		shown := channel(ch, is.Messages)
		if err := a.Check(ch); err != nil && shown.Why == "" {
			shown.Why = err.Error()
		}
		v.Channels = append(v.Channels, shown)
	}
	if d := c.Deadman; d.URL+d.URLFile != "" {
		v.Deadman = &api.Deadman{}
		v.Deadman.Called, v.Deadman.Why = a.Called()
	}
	return v, nil
}

// waiting counts the messages that tell of an alert and wait.
func waiting(one alerts.Alert, messages []alerts.Message) (n int) {
	for _, m := range messages {
		if slices.ContainsFunc(m.Items, func(i alerts.Item) bool {
			return i.Rule == one.Rule && i.Subject == one.Subject
		}) {
			n++
		}
	}
	return n
}

func channel(c configs.Channel, waiting []alerts.Message) api.AlertChannel {
	v := api.AlertChannel{Name: c.Name, Type: c.Type}
	for _, m := range waiting {
		if m.Channel != c.Name {
			continue
		}
		v.Waiting++
		if v.Why == "" && m.Why != "" {
			v.Why, v.Failing = m.Why, m.Since
		}
	}
	return v
}

// TestAlerts implements api.Alerts.
func (a *Alerts) TestAlerts(ctx context.Context, name string) ([]api.AlertTest, error) {
	c, err := a.Config()
	if err != nil {
		return nil, a.Explain(err)
	}
	if len(c.Channels) == 0 {
		return nil, api.Conflict("no channel is in force; write one below alerts: channels: in crawlbox.yaml, see " +
			"`crawlbox help alerts`; is one there, see `crawlbox config check`")
	}
	list := []api.AlertTest{}
	now := time.Now().UTC()
	var names []string
	for _, ch := range c.Channels {
		names = append(names, ch.Name)
		if name != "" && ch.Name != name {
			continue
		}
		test := api.AlertTest{Channel: ch.Name}
		m := alerts.Message{
			ID: "test-" + now.Format("20060102-150405.000"), Channel: ch.Name, At: now, Test: true,
			Items: []alerts.Item{},
		}
		if failure := a.Send(ctx, ch, m); failure != nil {
			test.Error = failure.Why
		}
		list = append(list, test)
	}
	if len(list) == 0 {
		return nil, api.NotFound("unknown channel %q; there is %s", name, strings.Join(names, ", "))
	}
	return list, nil
}

// maxSilence bounds for how long one may be silent.
const maxSilence = 90 * 24 * time.Hour

// SilenceAlerts implements api.Alerts.
func (a *Alerts) SilenceAlerts(ctx context.Context, req api.SilenceRequest) error {
	if req.For <= 0 || req.For > maxSilence {
		return api.Invalid("a silence is for a time of at most %d days", int(maxSilence.Hours()/24))
	}
	if req.Of == "" {
		return api.Invalid("name a rule, what an alert is about, or all")
	}
	now := time.Now().UTC()
	return a.Explain(a.Store.Update("silence alerts", func(s alerts.State) (alerts.State, error) {
		known := req.Of == alerts.All || slices.Contains(configs.AlertRules, req.Of) ||
			slices.ContainsFunc(s.Alerts, func(one alerts.Alert) bool { return one.Subject == req.Of })
		if near := words.Nearest(req.Of, configs.AlertRules); !known && near != "" {
			return s, api.NotFound("unknown rule %q; did you mean %q?", req.Of, near)
		}
		return s.Silence(alerts.Silence{
			Of: req.Of, Until: now.Add(req.For), By: api.PeerUser(ctx), Reason: req.Reason,
		}, now)
	}))
}

// UnsilenceAlerts implements api.Alerts.
func (a *Alerts) UnsilenceAlerts(_ context.Context, of string) error {
	return a.Explain(a.Store.Update("end a silence of alerts", func(s alerts.State) (alerts.State, error) {
		next, was := s.Unsilence(of)
		if !was {
			return s, api.NotFound("there is no silence of %q; `crawlbox alerts ls` lists them", of)
		}
		return next, nil
	}))
}

// Problem says why alerts can't be told; empty: they can, as far as is known.
func (a *Alerts) Problem() string {
	const patience, remedy = 2 * time.Minute, "mend it, and try it with `crawlbox alerts test %[1]s`"
	is, err := a.Store.Load()
	if err != nil {
		return err.Error()
	}
	for _, m := range is.Messages {
		if !m.Since.IsZero() && time.Since(m.Since) > patience {
			return fmt.Sprintf("alerts can't be told on %s since %s: %s; "+remedy, m.Channel,
				m.Since.Format(time.RFC3339), m.Why)
		}
	}
	c, err := a.Config()
	if err != nil {
		return "" // which the config's own problem tells
	}
	for _, ch := range c.Channels {
		if err := a.Check(ch); err != nil {
			return fmt.Sprintf("alerts can't be told on %s: %s; "+remedy, ch.Name, err)
		}
	}
	return ""
}
