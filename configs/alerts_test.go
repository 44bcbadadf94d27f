package configs

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const someAlerts = `
alerts:
  wait: 10s
  settle: 1m
  repeat: 6h
  channels:
    hook: {type: webhook, url: "https://u:hush@h.example/x/hush?k=hush", secret_file: /s}
    ops: {type: slack, url_file: /f}
    chat: {type: telegram, token_file: /t, chat: -100}
    mail: {type: smtp, host: "h:25", tls: none, from: a@b.c, to: d@e.f}
    page: {type: command, run: "PASSWORD=hush page", user: ops}
  rules:
    run-slow: off
    disk-low: {limit: 15%, to: ops}
    backup-old: {limit: 36h}
    run-missed: {to: [ops, mail]}
  deadman: {url: "https://hc.example/hush", every: 2m}
`

func TestAlerts(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, someAlerts)
	a := cfg.Alerts
	if len(a.Channels) != 5 || a.Channels[2].Name != "mail" || a.Channels[2].To[0] != "d@e.f" ||
		a.Wait != 10*time.Second || a.Settle != time.Minute || a.Repeat != 6*time.Hour ||
		a.Deadman.Every != 2*time.Minute {
		t.Errorf("got %+v", a)
	}
	for rule, want := range map[string][]string{
		RunSlow: nil, DiskLow: {"ops"}, RunMissed: {"mail", "ops"}, Quorum: {"chat", "hook", "mail", "ops", "page"},
	} {
		if got := a.To(rule); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is told on %q", rule, got)
		}
	}
	if a.Limit(DiskLow) != 0.15 || a.Limit(RunFewItems) != 0.5 || a.Span(BackupOld) != 36*time.Hour ||
		a.Span(QueueStuck) != 6*time.Hour {
		t.Errorf("the limits are %v", a.Rules)
	}
	text, err := OfCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(cfg.File, text)
	if err != nil || !reflect.DeepEqual(again.Alerts, a) {
		t.Errorf("another manager has %+v, %v", again.Alerts, err)
	}
	text, err = Show(cfg)
	if err != nil || strings.Contains(string(text), "hush") ||
		!strings.Contains(string(text), "https://h.example/********") {
		t.Errorf("it is shown as\n%s%v", text, err)
	}
	if a := mustLoad(t, "").Alerts; !a.IsZero() || a.Repeat != 12*time.Hour {
		t.Errorf("without alerts there is %+v", a)
	}
}

func TestAlerts_Wrong(t *testing.T) {
	t.Parallel()
	channel := func(text string) string { return "alerts: {channels: {a: " + text + "}}" }
	for text, want := range map[string]string{
		`alerts: [a]`:                   "1: alerts: must be a mapping",
		`alerts: {chanels: {}}`:         `did you mean "alerts.channels"`,
		`alerts: {channels: [a]}`:       "must be a mapping of names",
		`alerts: {channels: {a b: {}}}`: "a channel has a name",
		`alerts: {wait: 0s}`:            "must be a duration from 1s",
		channel(`slack`):                "alerts.channels.a: must be a mapping",
		channel(`{}`):                   "type is missing",
		channel(`{type: pigeon}`):       "must be one of",
		channel(`{type: slack}`):        "url_file is missing",
		channel(`{type: slack, url: "https://hooks.example/hush"}`):         "its URL is a secret",
		channel(`{type: webhook}`):                                          "say url or url_file",
		channel(`{type: webhook, url: "ftp://hush"}`):                       "must be a URL",
		channel(`{type: webhook, url_file: f}`):                             "must be an absolute path",
		channel(`{type: telegram, token_file: /t}`):                         "chat is missing",
		channel(`{type: smtp, host: h, from: a@b, to: c@d}`):                "must be HOST:PORT",
		channel(`{type: smtp, host: "h:25", from: "a@b\r\nX: y", to: c@d}`): "must be an address",
		channel(`{type: smtp, host: "h:25", from: a@b, to: [c]}`):           "must be an address",
		channel(`{type: smtp, host: "h:25", from: a@b, to: []}`):            "is an empty list",
		channel(`{type: smtp, host: "h:25", from: a@b, to: c@d, user: u}`):  "go together",
		channel(`{type: command, run: " "}`):                                "is empty",
		channel(`{type: command, run: x, chat: y}`):                         "takes run, user",
		`alerts: {rules: {run-fail: off}}`:                                  `did you mean "alerts.rules.run-failed"`,
		`alerts: {rules: {run-failed: on}}`:                                 "must be a mapping with to",
		`alerts: {rules: {run-failed: {limit: 3}}}`:                         "unknown key",
		`alerts: {rules: {run-failed: {to: ops}}}`:                          `there is no channel "ops"`,
		`alerts: {rules: {run-slow: {limit: 0.5}}}`:                         "must be how often as long",
		`alerts: {rules: {disk-low: {limit: 10}}}`:                          "must be a share",
		`alerts: {rules: {disk-low: {limit: 200%}}}`:                        "must be a share",
		`alerts: {rules: {backup-old: {limit: 1}}}`:                         "must be a duration",
		`alerts: {deadman: {}}`:                                             "say url or url_file",
		`alerts: {deadman: {url: "http://x", every: 1s}}`:                   "must be a duration from 10s",
		`alert: {}`: `did you mean "alerts"`,
	} {
		_, err := Parse("/f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
