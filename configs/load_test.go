package configs

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/configs/document"
)

// set sets one key to text; origin is what errors name as the place.
func set(name, value, origin string) Option {
	return func(s *settings) { s.override(name, value, origin) }
}

// file writes a config file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "crawlbox.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, text string, opts ...Option) Config {
	t.Helper()
	cfg, err := Load(file(t, text), opts...)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg
}

func sameAsDefault(t *testing.T, cfg Config) {
	t.Helper()
	cfg.File, cfg.Services, cfg.Schedules = "", nil, nil
	if want := Default(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestAnnotated_IsDefault(t *testing.T) {
	sameAsDefault(t, mustLoad(t, Annotated))
}

// uncommented returns the annotated file with every key in force: keys follow the #
// at once or after an indent, prose after one space.
func uncommented() string {
	return regexp.MustCompile(`(?m)^#((?:  )*[A-Za-z_]+:)`).ReplaceAllString(Annotated, "$1")
}

func TestAnnotated_ShowsEveryKeyWithItsDefault(t *testing.T) {
	p := &document.Problems{File: "annotated"}
	root := document.Parse([]byte(uncommented()), p)
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	lines := document.LinesOf(root, 1)
	for _, name := range append(Keys(), "services", "networks", "volumes", "secrets", "schedules", "alerts") {
		if _, ok := lines[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	cfg := mustLoad(t, uncommented())
	if want := DefaultQueue(); !reflect.DeepEqual(cfg.Queue, want) {
		t.Errorf("queue: got %+v, want %+v", cfg.Queue, want)
	}
	if len(cfg.Services) != 2 || cfg.Services[0].Compose.Build == nil || cfg.Services[1].Replicas() != 3 {
		t.Errorf("the examples of services: got %+v", cfg.Services)
	}
	if len(cfg.Schedules) != 1 || cfg.Schedules[0].Args["site"] != "shop" || cfg.Schedules[0].Timeout != 6*time.Hour {
		t.Errorf("the example of a schedule: got %+v", cfg.Schedules)
	}
	if a := cfg.Alerts; len(a.Channels) != 2 || a.Deadman.URLFile == "" || a.To(RunSlow) != nil {
		t.Errorf("the example of alerts: got %+v", a)
	}
	cfg.Queue, cfg.Alerts = nil, Default().Alerts
	sameAsDefault(t, cfg)
}

func TestKeys_CoverEveryField(t *testing.T) {
	var count func(reflect.Type) int
	count = func(typ reflect.Type) int {
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[netip.Addr]() {
			return 1
		}
		n := 0
		for i := range typ.NumField() {
			n += count(typ.Field(i).Type)
		}
		return n
	}
	// Services, Schedules, Alerts and File are no settings.
	without := 3 + count(reflect.TypeFor[Alerts]())
	if got, want := len(keys), count(reflect.TypeFor[Config]())-without; got != want {
		t.Errorf("%d keys for %d fields", got, want)
	}
}

func TestLoad_Values(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
advertise_addr: 10.0.0.1
data_dir: state
log_level: DEBUG
docker: {host: "tcp://127.0.0.1:2375"}
registry: {port: 8004, min_free: 1GiB, data_dir: /srv/images, public: false}
queue: {password: 0123, tls: true, safe: ["a:*", 'b,c*', '*:[\,d]'], window: 1, max_deliveries: 3, linger: true}
join_file: join
swarm: {heartbeat: 2s, task_history: 5}
prune: true
`)
	want := Default()
	want.File = cfg.File
	want.AdvertiseAddr = netip.MustParseAddr("10.0.0.1")
	want.DataDir = filepath.Join(filepath.Dir(cfg.File), "state")
	want.JoinFile = filepath.Join(filepath.Dir(cfg.File), "join")
	want.LogLevel = slog.LevelDebug
	want.Docker.Host = "tcp://127.0.0.1:2375"
	want.Registry = Registry{Port: 8004, MinFree: 1 << 30, DataDir: "/srv/images", Copies: 2}
	want.Queue = &Queue{
		Engine: EngineEmbedded, Image: DefaultValkey, EnginePort: 7892, Port: 7891, Password: "0123", TLS: true,
		Safe: []string{"a:*", `b\,c*`, `*:[\,d]`}, Window: 1, MaxDeliveries: 3, Linger: true,
	}
	want.Swarm = Swarm{Heartbeat: 2 * time.Second, TaskHistory: 5}
	want.Prune = true
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestLoad_Queue(t *testing.T) {
	t.Parallel()
	for text, on := range map[string]bool{
		"":                    false,
		"queue: false":        false,
		"queue:":              true,
		"queue: {}":           true,
		"queue: true":         true,
		"queue: {port: 7000}": true,
	} {
		if cfg := mustLoad(t, text); (cfg.Queue != nil) != on {
			t.Errorf("%q: queue on is %v", text, !on)
		}
	}
	if cfg := mustLoad(t, "queue: true", set("queue.enabled", "false", "--queue")); cfg.Queue != nil {
		t.Error("a flag does not turn the queue off")
	}
}

func TestLoad_Layers(t *testing.T) {
	const text = "node: {port: 1001}\ngossip: {port: 1002}\nregistry: {port: 1003}\n"
	t.Setenv("CRAWLBOX_GOSSIP_PORT", "2002")
	t.Setenv("CRAWLBOX_REGISTRY_PORT", "2003")
	t.Setenv("CRAWLBOX_QUEUE", "true")
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.Int("registry-port", 1, "")
	fs.Int("node-port", 1, "")
	fs.String("config", "", "")
	if err := fs.Parse([]string{"--registry-port=3003", "--config=x"}); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, text, Flags(fs))
	if got := [3]uint16{cfg.Node.Port, cfg.Gossip.Port, cfg.Registry.Port}; got != [3]uint16{1001, 2002, 3003} {
		t.Errorf("ports from file, environment, flag: %v", got)
	}
	if cfg.Mirror.MaxSize != Default().Mirror.MaxSize || cfg.Queue == nil {
		t.Errorf("default and CRAWLBOX_QUEUE: %v, %v", cfg.Mirror, cfg.Queue)
	}

	t.Setenv("CRAWLBOX_GOSSIP_PORT", "many")
	_, err := Load(file(t, text), set("registry.port", "0", "--registry-port"))
	want := "--registry-port: registry.port: must be a port from 1 to 65535, not \"0\"\n" +
		"CRAWLBOX_GOSSIP_PORT: gossip.port: must be a port from 1 to 65535, not \"many\""
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLoad_MissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	cfg, err := load(path, true, nil)
	if err != nil {
		t.Fatalf("the default path: %v", err)
	}
	if cfg.File != path {
		t.Errorf("File is %q", cfg.File)
	}
	sameAsDefault(t, cfg)
	_, err = Load(path)
	if err == nil || !strings.Contains(err.Error(), "`crawlbox config init --file "+path+"`") ||
		strings.Contains(err.Error(), "--config") { // it may have been named by --file
		t.Errorf("a named file that is missing: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// wrong holds bad files, and the errors without the file's name.
var wrong = []struct{ name, text, want string }{
	{"typing error in a group", "regsitry:\n  port: 1\n", `1: unknown key "regsitry" (did you mean "registry"?)`},
	{
		"typing error in a key", "\nregistry:\n  prot: 1\n",
		`3: unknown key "registry.prot" (did you mean "registry.port"?)`,
	},
	{"wrong case", "Prune: true\n", `1: unknown key "Prune" (did you mean "prune"?)`},
	{"nothing near", "colour: red\n", `1: unknown key "colour"`},
	{"dotted key", "registry.port: 1\n", `1: unknown key "registry.port" (write port: below registry:)`},
	{
		"no mapping", "- a\n",
		"1: the file must be a mapping of keys and values, like `data_dir: /var/lib/crawlbox`, not a list",
	},
	{"value for a group", "node: 7980\n", `1: node: must be a mapping with port, not "7980"`},
	{"group for a value", "prune: {a: b}\n", "1: prune: must be a single value, not a mapping"},
	{"not a port", "node:\n  port: seven\n", `2: node.port: must be a port from 1 to 65535, not "seven"`},
	{"port too high", "node: {port: 65536}\n", `1: node.port: must be a port from 1 to 65535, not "65536"`},
	{"not an address", "advertise_addr: master\n", `1: advertise_addr: must be an IP address, not "master"`},
	{
		"no one's address", "advertise_addr: 0.0.0.0\n",
		"1: advertise_addr: must be an address that other nodes can reach, not 0.0.0.0",
	},
	{"not a level", "log_level: loud\n", `1: log_level: must be debug, info, warn or error, not "loud"`},
	{"not a size", "mirror: {max_size: big}\n", `1: mirror.max_size: must be a size such as 256MB or 10GiB, not "big"`},
	{"negative size", "mirror: {max_size: -1}\n", `1: mirror.max_size: must be a size such as 256MB or 10GiB, not "-1"`},
	{"not a boolean", "prune: yes\n", `1: prune: must be true or false, not "yes"`},
	{"not a path", "data_dir: true\n", `1: data_dir: must be a path (put it in quotes if it is one), not "true"`},
	{"empty path", "data_dir: \"\"\n", "1: data_dir: must be a path, not empty"},
	{
		"not a queue", "queue: on\n",
		`1: queue: must be true, false, or a mapping with engine, image, engine_port, url, url_file, url_ca, safe, window, max_deliveries, linger, port, ` +
			`password, password_file, tls, data_dir, max_memory, not "on"`,
	},
	{"empty window", "queue:\n  window: 0\n", `2: queue.window: must be from 1 to 1000 items, not 0`},
	{"no deliveries", "queue:\n  max_deliveries: 0\n", `2: queue.max_deliveries: must be from 1 to 1000, not 0`},
	{
		"leases of leases", "queue:\n  safe: [\"crawlbox:*\"]\n",
		`2: queue.safe: "crawlbox:*" is of the lists of the leases themselves, crawlbox:*: take it out`,
	},
	{
		"leases of the dead", "queue:\n  safe: '*:dead'\n",
		`2: queue.safe: "*:dead" is of lists of dead items, KEY:dead: take it out`,
	},
	{"empty pattern", "queue:\n  safe: [a, '']\n", `2: queue.safe: "" is empty: take it out`},
	{"one empty pattern", "queue:\n  safe: ['  ']\n", `2: queue.safe: " " is empty: take it out`},
	{"no pattern between commas", "queue:\n  safe: a,,b\n", `2: queue.safe: "" must have 1 to 256 bytes`},
	{"not a list", "queue:\n  safe: {a: b}\n", `2: queue.safe: must be a list, not a mapping`},
	{"a list of lists", "queue:\n  safe: [[a]]\n", `2: queue.safe: must be a list of texts, not of a list`},
	{"no engine", "queue: {engine: valky}\n", `1: queue.engine: must be embedded, valkey or url, not "valky"`},
	{
		"no URL", "queue:\n  engine: url\n",
		`2: queue.engine: url wants to know where it is: set queue.url to redis://USER:PASSWORD@HOST:PORT/DATABASE, ` +
			`or rediss:// for TLS, with %XX for what is special, or queue.url_file to a file with that`,
	},
	{
		"URL for nothing", "queue:\n  url: redis://h\n",
		`2: queue.url: is for another engine: set queue.engine to url, or remove it`,
	},
	{
		"file for nothing", "queue:\n  url_file: /f\n",
		`2: queue.url_file: is for another engine: set queue.engine to url, or remove it`,
	},
	{
		"an image for nothing", "queue:\n  image: valkey:9\n",
		`2: queue.image: is for another engine: set queue.engine to valkey, or remove it`,
	},
	{
		"Valkey at the queue's port", "queue:\n  engine: valkey\n  engine_port: 7891\n",
		`3: queue.engine_port: 7891 is the port of queue.port: choose another`,
	},
	{
		"a CA for nothing", "queue:\n  url_ca: /f\n",
		`2: queue.url_ca: is for another engine: set queue.engine to url, or remove it`,
	},
	{
		"two URLs", "queue:\n  engine: url\n  url: redis://h\n  url_file: /f\n",
		`4: queue.url_file: queue.url is set too: remove one of them`,
	},
	{
		"another scheme", "queue:\n  engine: url\n  url: http://u:hush@h\n",
		`3: queue.url: must begin with redis://, or rediss:// for TLS`,
	},
	{
		"two passwords", "queue:\n  password: a\n  password_file: /b\n",
		`3: queue.password_file: queue.password is set too: remove one of them`,
	},
	{"no unit", "swarm: {heartbeat: 5}\n", `1: swarm.heartbeat: must be a duration such as 5s or 1m30s, not "5"`},
	{
		"small queue", "queue: {max_memory: 63MiB}\n",
		`1: queue.max_memory: 63MiB is too little: use 64MiB or more, or 0 for a quarter of the machine's memory`,
	},
	{
		"fast heartbeat", "swarm: {heartbeat: 500ms}\n",
		`1: swarm.heartbeat: 500ms is too short: never under 1s, a short heartbeat makes a busy machine look dead`,
	},
	{
		"no history", "swarm: {task_history: 1}\n",
		`1: swarm.task_history: 1 makes updates crawl: use 2 or more, or -1 to keep Swarm's own value`,
	},
	{"same port", "\nnode: {port: 8003}\n", `2: registry.port: 8003 is the port of node.port: choose another`},
	{
		"docker's port", "gossip:\n  port: 7946\n",
		`2: gossip.port: 7946 is the port of Docker Swarm's gossip: choose another`,
	},
	{"duplicate key", "prune: true\ndata_dir: /a\nprune: false\n", `3: duplicate key "prune" (first in line 1)`},
	{"key that is a list", "? [a]\n: b\n", `1: a key must be plain text`},
	{"tabs", "node:\n\tport: 1\n", `2: not YAML: found character that cannot start any token`},
	{"unknown anchor", "a: 1\nb: *c\n", "2: not YAML: unknown anchor 'c' referenced"},
	{"anchor in itself", "x-a: &a\n  b: *a\n", `1: the anchor contains itself`},
	{
		"second document", "prune: true\n---\nprune: false\n",
		`2: a second YAML document begins here: put everything into one`,
	},
	{"not UTF-8", "a: 1\nb: \xff\n", `2: the text is not UTF-8`},
	{"control character", "prune: true\nb: \x01\n", "2: not YAML: control characters are not allowed"},
	{"two errors", "prune: 1\nfoo: 2\n", "1: prune: must be true or false, not \"1\"\n2: unknown key \"foo\""},
	{"merge of text", "node:\n  <<: a\n", "2: `<<` merges mappings only"},
	{"compose's version", "version: '3'\n", `1: version: it is obsolete in Compose too; remove it`},
	{"x-crawlbox", "x-crawlbox:\n  a: b\n", `2: unknown key "x-crawlbox.a": crawlbox has no extensions of Compose`},
}

func TestLoad_Wrong(t *testing.T) {
	t.Parallel()
	for _, test := range wrong {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, test.text, test.want) })
	}
}

// wantErrors compares lines without the name of the file.
func wantErrors(t *testing.T, text, want string) {
	t.Helper()
	path := file(t, text)
	_, err := Load(path)
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	if got := strings.ReplaceAll(err.Error(), path+":", ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoad_Bombs(t *testing.T) {
	t.Parallel()
	var laughs strings.Builder
	laughs.WriteString("x-0: &a0 [l, l, l, l, l, l, l, l, l, l]\n")
	for i := 1; i < 10; i++ {
		from, to := string(rune('0'+i-1)), string(rune('0'+i))
		laughs.WriteString("x-" + to + ": &a" + to + " [" + strings.Repeat("*a"+from+", ", 9) + "*a" + from + "]\n")
	}
	long := "x-a: &a " + strings.Repeat("a", 1<<19) + "\nx-b: [" + strings.Repeat("*a, ", 100) + "]\n"
	variables := "services: {a: {image: '" + strings.Repeat("${A:-", 100_000) + "'}}\n"
	for name, test := range map[string]struct{ text, want string }{
		"aliases":          {laughs.String(), "written out"},
		"text":             {long, "written out"},
		"depth":            {"x-a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nesting is too deep"},
		"size":             {"# " + strings.Repeat("a", document.MaxFile), "larger than 1 MiB"},
		"nested variables": {variables, "${ has no }"},
	} {
		start := time.Now()
		_, err := Load(file(t, test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %.200v", name, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestBytes_RoundTrip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{
		"256MB":  256_000_000,
		"10GiB":  10 << 30,
		"1k":     1000,
		"123":    123,
		"1.5 GB": 1_500_000_000,
		"0":      0,
	} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("%s became %s, then %d", text, got, again)
		}
	}
}

func TestQueue_Secret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	if _, err := (Queue{PasswordFile: path}).Secret(); err == nil {
		t.Error("a missing file gives no error")
	}
	for content, want := range map[string]string{" word\n": "word", "\n": "", strings.Repeat("a", 5000): ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Queue{PasswordFile: path}.Secret()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.10q: got %q, %v", content, got, err)
		}
	}
	if got, err := (Queue{Password: "p"}).Secret(); got != "p" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestQueue_Server(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "url")
	for text, want := range map[string]string{
		"redis://h":                          "h:6379 false '' '' 0",
		"rediss://:p%40w@h.example:1/5":      "h.example:1 true '' 'p@w' 5",
		"redis://u:p@[fd00::1]:6380/":        "[fd00::1]:6380 false 'u' 'p' 0",
		"redis://h/x":                        "must end with the number of a database, such as /0",
		"redis://h/-1":                       "must end with the number of a database, such as /0",
		"redis://h:0":                        "has no port from 1 to 65535",
		"redis://h:65536":                    "has no port from 1 to 65535",
		"redis://:p@/0":                      "has no host, or more than that: write " + redisURLForm,
		"redis://h?db=1":                     "has no host, or more than that: write " + redisURLForm,
		"redis:h":                            "has no host, or more than that: write " + redisURLForm,
		"redis://hush@h":                     "has a user and no password: write " + redisURLForm,
		"redis://u:hu sh%@h":                 "is no URL: write " + redisURLForm,
		"unix:///hush":                       "must begin with redis://, or rediss:// for TLS",
		strings.Repeat("x", maxSecretFile+1): "read queue.url_file: " + file + " is larger than 4096 bytes",
		" ":                                  "read queue.url_file: " + file + " is empty",
	} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Queue{Engine: EngineURL, URLFile: file}.Server()
		switch {
		case err != nil && strings.HasPrefix(want, "read "):
			if err.Error() != want {
				t.Errorf("%.40s: %v", text, err)
			}
		case err != nil:
			if err.Error() != "queue.url_file: "+file+": "+want {
				t.Errorf("%.40s: %v", text, err)
			}
		default:
			if is := fmt.Sprintf("%s %t '%s' '%s' %d", got.Addr, got.TLS, got.User, got.Password, got.DB); is != want {
				t.Errorf("%s: got %s, want %s", text, is, want)
			}
		}
	}
	if got, err := (Queue{Engine: EngineURL, URL: "rediss://u:p@h/3"}).Server(); err != nil ||
		got.String() != "rediss://h:6379/3" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := (Queue{Engine: EngineEmbedded}).Server(); got != nil || err != nil {
		t.Errorf("embedded: got %v, %v", got, err)
	}
}

// TestServer_CA reads the authority of an engine's certificate.
func TestServer_CA(t *testing.T) {
	t.Parallel()
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}
	file := filepath.Join(t.TempDir(), "ca.pem")
	for _, c := range []struct{ url, text, want string }{
		{"rediss://h", string(pem.EncodeToMemory(block)), ""},
		{"rediss://h", "hush", "read queue.url_ca: there is no certificate in " + file + "; it has to be PEM"},
		{"rediss://h", strings.Repeat("x", maxCAFile+1), "read queue.url_ca: " + file + " is larger than 65536 bytes"},
		{
			"redis://h", string(pem.EncodeToMemory(block)),
			"queue.url_ca: queue.url has no TLS: begin it with rediss://, or remove queue.url_ca",
		},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Queue{Engine: EngineURL, URL: c.url, URLCA: file}.Server()
		switch {
		case c.want == "" && (err != nil || got.CA != strings.TrimSpace(c.text)):
			t.Errorf("%s with %.20q: got %v, %v", c.url, c.text, got, err)
		case c.want != "" && (err == nil || err.Error() != c.want):
			t.Errorf("%s with %.20q: %v, want %s", c.url, c.text, err, c.want)
		}
	}
}
