package configs

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const someSchedules = `
services:
  spider: {image: i}
schedules:
  weekly: {service: spider, cron: "@weekly"}
  nightly:
    service: spider
    cron: "0 3 * * *"
    tz: Europe/Paris
    jitter: 10m
    args: {Site: shop, pages: 10, API_TOKEN: hush, price: $5}
    replicas: 3
    timeout: 6h
    retries: 0
    overlap: wait
    missed: skip
    at_most: 3
    command: [scrapy, crawl, "1"]
`

func TestSchedules(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, someSchedules)
	want := []Schedule{{
		Name: "nightly", Service: "spider", Cron: "0 3 * * *", Zone: "Europe/Paris", Jitter: 10 * time.Minute,
		Args:     map[string]string{"Site": "shop", "pages": "10", "API_TOKEN": "hush", "price": "$5"},
		Replicas: 3, Timeout: 6 * time.Hour, Overlap: "wait", Missed: "skip", AtMost: 3,
		Command: []string{"scrapy", "crawl", "1"},
	}, {Name: "weekly", Service: "spider", Cron: "@weekly", AtMost: 1, Replicas: 1, Retries: 2}}
	if !reflect.DeepEqual(cfg.Schedules, want) {
		t.Errorf("got  %+v\nwant %+v", cfg.Schedules, want)
	}
	text, err := OfCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(cfg.File, text)
	if err != nil || !reflect.DeepEqual(again.Schedules, want) {
		t.Errorf("another manager has %+v, %v", again.Schedules, err)
	}
	text, err = Show(cfg)
	if err != nil || strings.Contains(string(text), "hush") || !strings.Contains(string(text), "Site: shop") {
		t.Errorf("it is shown as\n%s%v", text, err)
	}
}

func TestSchedules_Wrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`schedules: [a]`:       "1: schedules: must be a mapping",
		`schedules: {a b: {}}`: "a schedule has a name of at most 40",
		`schedules: {` + strings.Repeat("a", 41) + `: {}}`:          "a schedule has a name of at most 40",
		`schedules: {a: spider}`:                                    "must be a mapping with service and cron",
		`schedules: {a: {cron: "@daily"}}`:                          "service is missing",
		`schedules: {a: {service: s}}`:                              "cron is missing",
		`schedules: {a: {service: s, cron: "0 3 * *"}}`:             "it wants minute, hour, day, month and weekday",
		`schedules: {a: {service: s, cron: "@every 1s"}}`:           "10s or more",
		`schedules: {a: {service: s, cron: "@daily", tzz: x}}`:      `did you mean "schedules.a.tz"`,
		`schedules: {a: {service: s, cron: "@daily", jitter: x}}`:   "must be a duration",
		`schedules: {a: {service: s, cron: "@daily", overlap: x}}`:  "must be one of",
		`schedules: {a: {service: s, cron: "@daily", at_most: 0}}`:  "1 or more",
		`schedules: {a: {service: s, cron: "@daily", args: [x]}}`:   "must be a mapping such as",
		`schedules: {a: {service: s, cron: "@daily", args: {x: }}}`: "the argument x must be",
		`schedules: {a: {service: s, cron: "@daily", command: x}}`:  "must be a list",
		`schedules: {a: {service: [s], cron: "@daily"}}`:            "must be a text or a number",
		`shedules: {}`: `did you mean "schedules"`,
	} {
		_, err := Parse("/f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	if cfg := mustLoad(t, "schedules:\n"); cfg.Schedules != nil {
		t.Errorf("none are %+v", cfg.Schedules)
	}
}
