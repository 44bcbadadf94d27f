package alerts

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/configs"
)

// document keeps a state in memory.
type document struct{ data []byte }

func (d *document) Load() ([]byte, error) { return d.data, nil }

func (d *document) Update(_ string, fn func([]byte) ([]byte, error)) (err error) {
	d.data, err = fn(d.data)
	return err
}

// TestAlerts_Waiting: what no channel has taken was not told, and a channel whose secret is not there is not ready.
func TestAlerts_Waiting(t *testing.T) {
	t.Parallel()
	a := &Alerts{
		Store: alerts.NewStore(&document{}),
		Config: func() (configs.Alerts, error) {
			return configs.Alerts{Channels: []configs.Channel{{Name: "ops"}, {Name: "pager"}}}, nil
		},
		Check: func(c configs.Channel) error {
			if c.Name == "pager" {
				return errors.New("there is no such file")
			}
			return nil
		},
		Explain: func(err error) error { return err },
	}
	fact := func(subject string) alerts.Fact {
		return alerts.Fact{Rule: configs.NodeDown, Subject: subject, Severity: alerts.Bad}
	}
	now := time.Now().UTC()
	err := a.Store.Update("test", func(s alerts.State) (alerts.State, error) {
		s.Alerts = []alerts.Alert{
			{Fact: fact("h2"), Since: now, Told: now},
			{Fact: fact("h3"), Since: now, Told: now},
		}
		s.Messages = []alerts.Message{{ID: "1", Channel: "ops", Items: []alerts.Item{{Fact: fact("h3")}}}}
		return s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if said := a.Problem(); !strings.HasPrefix(said, "alerts can't be told on pager: there is no such file; ") ||
		!strings.HasSuffix(said, "alerts test pager`") {
		t.Errorf("the problem is %q", said)
	}
	v, err := a.Alerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v.Alerts[0].Waiting != 0 || v.Alerts[1].Waiting != 1 {
		t.Errorf("the alerts are %+v", v.Alerts)
	}
	if v.Channels[0].Why != "" || v.Channels[0].Waiting != 1 || v.Channels[1].Why != "there is no such file" {
		t.Errorf("the channels are %+v", v.Channels)
	}
}
