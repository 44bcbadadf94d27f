package configs

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/compose"
)

func shown(t *testing.T, cfg Config) string {
	t.Helper()
	text, err := Show(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestShow_LoadsAsTheSame(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
advertise_addr: 10.0.0.1
socket_group: "1000"
queue: {port: 7000, tls: true}
join_file: j
mirror: {max_size: 1500MB}
services:
  a:
    image: i
    command: [sh, -c, 'echo $$HOME']
    environment: {FORWARD: null, N: 1.5, QUEUE: '${CRAWLBOX_QUEUE_URL}/0', PRICE: $$5}
    networks: [back]
    volumes: ['vol:/v', './d:/d']
    tmpfs: /run
    stop_grace_period: 1m
    ulimits: {nofile: 100, nproc: {soft: 1, hard: 2}}
    extra_hosts: ['h:10.0.0.1', 'h6:::1']
    healthcheck: {test: [CMD, x], interval: 1s}
    deploy: {replicas: 0, resources: {limits: {cpus: 0.5, memory: 64m}}, restart_policy: {condition: any, delay: 1s}}
  b: {image: i, entrypoint: []}
networks: {back: {external: true}}
volumes: {vol: {labels: {x: y}}}
`)
	again := mustLoad(t, shown(t, cfg))
	if len(again.Services) != len(cfg.Services) {
		t.Fatalf("%d services", len(again.Services))
	}
	for i := range cfg.Services {
		if cfg.Services[i].Hash != again.Services[i].Hash {
			t.Errorf("service %s is another now:\n%s", cfg.Services[i].Name, shown(t, cfg))
		}
	}
	cfg.Services, again.Services, again.File = nil, nil, cfg.File
	if !reflect.DeepEqual(cfg, again) {
		t.Errorf("got  %+v\nwant %+v", again, cfg)
	}
}

// TestOfCluster: another machine reads the same services, with their secrets, and nothing of this one's own.
func TestOfCluster(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
queue: {password: hush1, port: 7000, engine: url, url: "redis://u:hush1@h:1/2"}
data_dir: /elsewhere
prune: true
swarm: {heartbeat: 3s, task_history: 4}
services:
  a:
    build: {context: ., args: {TOKEN: hush2}}
    environment: {REDIS_PASSWORD: hush3, QUEUE: '${CRAWLBOX_QUEUE_URL}/0', PRICE: $$5, FORWARD: null}
    command: [spider, --password, hush4]
    x-crawlbox: {autoscale: {queue: "1", empty_in: 90m, min: 1, max: 50}}
`)
	text, err := OfCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hush1") || strings.Contains(string(text), "elsewhere") {
		t.Errorf("it has what is a machine's own:\n%s", text)
	}
	again, err := Parse(cfg.File, text)
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	was, is := cfg.Services[0], again.Services[0]
	if was.Hash != is.Hash || !reflect.DeepEqual(was.Compose, is.Compose) || was.Autoscale == nil ||
		*was.Autoscale != *is.Autoscale || again.Prune != cfg.Prune ||
		again.Swarm != cfg.Swarm {
		t.Errorf("got  %+v\nwant %+v", again, cfg)
	}
	if twice, err := OfCluster(again); err != nil || string(twice) != string(text) {
		t.Errorf("written again it is\n%s", twice)
	}
}

func TestShow_HidesSecrets(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
queue: {password: hush1, engine: url, url: "redis://u:hush1@h:1/2", safe: [a, 'b,"c']}
services:
  a:
    image: i
    command: [spider, 'redis://u:hush2@host:1/0', --api-key=hush8, --password, hush9, --verbose, seen]
    environment: {REDIS_PASSWORD: hush3, API_KEY: hush4, Auth_Token: hush5, URL: 'http://:hush6@h', KEEP: visible}
    labels: {secret: hush7}
`)
	text := shown(t, cfg)
	if strings.Contains(text, "hush") {
		t.Errorf("a secret shows:\n%s", text)
	}
	for _, want := range []string{
		"password: \"" + hidden, "redis://u:" + hidden + "@host:1/0", "KEEP: visible", "--api-key=" + hidden, "- seen",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}
	if len(cfg.Services[0].Compose.Environment) != 5 || *cfg.Services[0].Compose.Environment["API_KEY"] != "hush4" {
		t.Error("Show has changed the configuration")
	}
}

func TestHideSecrets(t *testing.T) {
	t.Parallel()
	type container struct {
		Env    []string
		Labels map[string]string
		Args   []string
	}
	spec := container{
		Env:    []string{"REDIS_URL=redis://default:hush@h:1", "API_KEY=hu\nsh", "KEEP=$visible", "TOKEN="},
		Labels: map[string]string{"password": "hush", "tier": "1"},
		Args:   []string{"-token", "hush", "plain"},
	}
	got, err := HideSecrets(map[string]any{"Spec": spec, "N": 1})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"N": 1.0, "Spec": map[string]any{
		"Env":    []any{"REDIS_URL=redis://default:" + hidden + "@h:1", "API_KEY=" + hidden, "KEEP=$visible", "TOKEN="},
		"Labels": map[string]any{"password": hidden, "tier": "1"},
		"Args":   []any{"-token", hidden, "plain"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, err := HideSecrets(func() {}); err == nil {
		t.Error("what is no JSON is hidden")
	}
}

// TestQueueURL wants the URL of the queue to be a matter of the deploy: its password is
// no part of a definition, nor shown.
func TestQueueURL(t *testing.T) {
	t.Setenv("CRAWLBOX_QUEUE_URL", "redis://default:hush@h:1") // of some other time
	cfg := mustLoad(t, "services: {a: {image: i, environment: [CRAWLBOX_QUEUE_URL, 'Q=${CRAWLBOX_QUEUE_URL}/0']}}")
	for name, want := range map[string]string{
		"CRAWLBOX_QUEUE_URL": compose.QueuePlaceholder,
		"Q":                  compose.QueuePlaceholder + "/0",
	} {
		if got := cfg.Services[0].Compose.Environment[name]; got == nil || *got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	if text := shown(t, cfg); strings.Contains(text, "hush") || !strings.Contains(text, "Q: ${CRAWLBOX_QUEUE_URL}/0") {
		t.Errorf("shown as\n%s", text)
	}
}

// TestAsNode reads back each text, whatever it begins with.
func TestAsNode(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "a", "1", "true", "null", "~", "2026-01-01", "a\nb", "\nimport os\nx: 'y'\n", "  a\n b\n", "\ta\nb",
		"\r\na", "a \n b",
		"\n", "\n\n", "a\n", "a\n\n", "a\n\n\n  b", " ", "# a\nb", "- a\n- b", "é\u2028\n☃", "\x01\n", "a: b\nc: [d",
	} {
		want := map[string]any{"a": []any{text, map[string]any{text + "k": text}}, "n": 1.5, "b": true, "z": nil}
		node, err := asNode(want)
		if err != nil {
			t.Fatal(err)
		}
		written, err := yaml.Marshal(node)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := yaml.Unmarshal(written, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is written as\n%s\nand read as %v, %v", text, written, got, err)
		}
	}
}
