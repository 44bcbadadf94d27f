package scalerule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

func TestRule_Check(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule       scalerule.Rule
		part, says string
	}{
		"good":          {scalerule.Rule{Queue: "urls", PerReplica: 200, Max: 50}, "", ""},
		"good, in time": {scalerule.Rule{Queue: "urls", EmptyIn: 2 * time.Hour, Min: 2, Max: 2}, "", ""},
		"no key":        {scalerule.Rule{PerReplica: 200, Max: 50}, "queue", "missing"},
		"a long key":    {scalerule.Rule{Queue: strings.Repeat("k", 1025), PerReplica: 1, Max: 1}, "queue", "1024"},
		"both": {
			scalerule.Rule{Queue: "k", PerReplica: 1, EmptyIn: time.Hour, Max: 1}, "empty_in", "excludes",
		},
		"neither":             {scalerule.Rule{Queue: "k", Max: 1}, "per_replica", "missing"},
		"per replica < 0":     {scalerule.Rule{Queue: "k", PerReplica: -1, Max: 1}, "per_replica", "not -1"},
		"too short a time":    {scalerule.Rule{Queue: "k", EmptyIn: time.Second, Max: 1}, "empty_in", "not 1s"},
		"too long a time":     {scalerule.Rule{Queue: "k", EmptyIn: 1000 * time.Hour, Max: 1}, "empty_in", "1000h"},
		"no most":             {scalerule.Rule{Queue: "k", PerReplica: 1}, "max", "is missing, or 0: say"},
		"no most and a least": {scalerule.Rule{Queue: "k", PerReplica: 1, Min: 2}, "max", "is missing, or 0: say"},
		"too many":            {scalerule.Rule{Queue: "k", PerReplica: 1, Max: 1e6}, "max", "20000"},
		"min < 0":             {scalerule.Rule{Queue: "k", PerReplica: 1, Min: -1, Max: 1}, "min", "not -1"},
		"min > max": {
			scalerule.Rule{Queue: "k", PerReplica: 1, Min: 6, Max: 5}, "min", "more than max, which is 5",
		},
	} {
		part, reason := c.rule.Check()
		if part != c.part || !strings.Contains(reason, c.says) || (c.says == "") != (reason == "") {
			t.Errorf("%s: %q %q, want %q %q", name, part, reason, c.part, c.says)
		}
	}
}

func TestRule_String(t *testing.T) {
	t.Parallel()
	for want, rule := range map[string]scalerule.Rule{
		"urls, 200 a replica, 0 to 50":  {Queue: "urls", PerReplica: 200, Max: 50},
		"urls, empty in 2h, 1 to 50":    {Queue: "urls", EmptyIn: 2 * time.Hour, Min: 1, Max: 50},
		"urls, empty in 1h30m, 0 to 50": {Queue: "urls", EmptyIn: 90 * time.Minute, Max: 50},
		"urls, empty in 10m, 0 to 50":   {Queue: "urls", EmptyIn: 10 * time.Minute, Max: 50},
	} {
		if rule.String() != want {
			t.Errorf("%s, want %s", rule, want)
		}
	}
}
