package cli

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/configs"
)

// firstBad has the first value that each flag does not take, by its name, or by its command's and
// its own where they differ.
var firstBad = map[string]string{
	"base":           "Not An Image",
	"build-arg":      "=1",
	"ca":             "/nowhere.pem",
	"builder":        "kaniko",
	"constraint":     "zone eu",
	"delay":          "-1s",
	"dockerfile":     "-",
	"env":            "=1",
	"env-file":       "/nowhere.env",
	"failure-ratio":  "1.1",
	"image":          "Not An Image",
	"interval":       "0s",
	"limit-cpu":      "0",
	"limit-memory":   "1k",
	"log-level":      "loud",
	"max-context":    "0",
	"max-per-node":   "0",
	"monitor":        "0s",
	"name":           "a b",
	"number":         "0",
	"parallelism":    "0",
	"platform":       "plan9/amd64",
	"replicas":       "-1",
	"arg":            "=1",
	"retries":        "-1",
	"cron":           "0 3 * *",
	"tz":             "Local",
	"jitter":         "25h",
	"for":            "0s",
	"overlap":        "queue",
	"missed":         "all",
	"at-most":        "0",
	"timeout":        "0s",
	"secret":         "src=x",
	"sha256":         "abc",
	"since":          "yesterday",
	"spider":         "none",
	"stage-quorum":   "200%",
	"stage-timeout":  "-1s",
	"start-timeout":  "0s",
	"tag":            "a b",
	"queue":          "",
	"per-replica":    "0",
	"empty-in":       "59s",
	"min":            "-1",
	"max":            "0",
	"tail":           "-1",
	"target":         "none",
	"ttl":            "0",
	"url-file":       "/nowhere",
	"uses":           "0",
	"from":           "/nowhere",
	"file":           "/", // a directory
	"advertise-addr": "nowhere",
	"grep":           "(",
	"node-port":      "0",
	"gossip-port":    "0",
	"registry-port":  "0",
	"queue-port":     "0",
}

// goodAnyway says of flags whose values are not judged before the cluster is asked, why.
var goodAnyway = map[string]string{
	"data-dir":          "any path can be a directory",
	"docker-host":       "Docker's client judges it as a node begins, before it does anything",
	"config":            "it is read where a command needs it",
	"socket":            "it is where the cluster is asked",
	"join":              "it is read by who joins, before anything is sent",
	"keys":              "any text is a pattern",
	"join-file":         "it is read by who joins, before anything is sent",
	"restore":           "any path can be a file, and what is no address is one",
	"recovery-key-file": "any path can be a file",
	"at":                "only the state knows its changes, and nothing is changed",
	"node":              "only the cluster knows its nodes, and ps changes nothing",
	"run":               "only the cluster knows its runs, and logs changes nothing",
	"rm":                "a label that a node does not have is gone",
	"user":              "only the container knows its users",
	"reason":            "any text is a reason",
	"workdir":           "only the container knows its directories",
}

// argumentsFor are those that a command needs to get as far as its flags.
func argumentsFor(path, dir string) []string {
	return map[string][]string{
		"deploy":         {dir},
		"logs":           {"spider"},
		"push":           {"spider"},
		"run":            {"spider"},
		"alerts silence": {"all"},
		"schedule add":   {"daily", "spider", "--cron=@daily"},
		"queue peek":     {"robots"},
		"queue import":   {"redis://127.0.0.1:1"},
		"queue export":   {"redis://127.0.0.1:1"},
		"autoscale":      {"spider", "--queue=k", "--per-replica=1", "--max=1"},
		"update":         {"spider", "--image=localhost:8003/spider:0.02"},
		"upgrade":        {"--from=/bin/true"},
	}[path]
}

// TestFlags_FirstBadValue gives every flag the first value that is wrong, and one that is nothing
// of its type. Each has to be told, by the name of the flag and in one line without Go's words,
// before the cluster is asked for anything that it would do.
func TestFlags_FirstBadValue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spider.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	eachFlag(New(command.Env{}), func(path string, cmd *cobra.Command, flag *pflag.Flag) {
		if flag.Value.Type() == "bool" {
			return
		}
		used[flag.Name] = true
		bad, judged := firstBad[flag.Name]
		if judged == (goodAnyway[flag.Name] != "") {
			t.Errorf("%s --%s: say in firstBad what it does not take, or in goodAnyway why it takes all", path,
				flag.Name)
		}
		values := []string{bad}
		if is := flag.Value.Type(); is != "string" && is != "stringArray" {
			values = append(values, "x", "", "99999999999999999999x")
			if is == "duration" {
				values = append(values, "5", "5 minutes")
			}
		}
		for _, value := range values {
			switch {
			case !judged:
			case path == "manager" || path == "worker" || strings.HasPrefix(path, "install "):
				judgeNodeFlag(t, path, cmd, flag, value)
			default:
				judgeFlag(t, strings.Fields(path), argumentsFor(path, dir), flag.Name, value)
			}
		}
	})
	for name := range firstBad {
		if !used[name] {
			t.Errorf("no command has a flag --%s", name)
		}
	}
}

func eachFlag(cmd *cobra.Command, see func(path string, cmd *cobra.Command, flag *pflag.Flag)) {
	path := strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), "crawlbox"))
	if path == "" {
		path = "ls" // of the flags that all have
	}
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && flag.Name != "version" {
			see(path, cmd, flag)
		}
	})
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			eachFlag(c, see)
		}
	}
}

// judgeNodeFlag reads a flag of a command that would run a node, and no more.
func judgeNodeFlag(t *testing.T, path string, cmd *cobra.Command, flag *pflag.Flag, value string) {
	t.Helper()
	before := flag.Value.String()
	err := cmd.ParseFlags([]string{"--" + flag.Name + "=" + value})
	if err == nil {
		empty := filepath.Join(t.TempDir(), "crawlbox.yaml")
		if err := os.WriteFile(empty, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = configs.Load(empty, configs.Flags(cmd.Flags()))
	}
	switch {
	case err == nil:
		t.Errorf("%s --%s=%s: no error", path, flag.Name, value)
	case len(testenv.Raw(command.FlagError(cmd, err).Error())) > 0:
		t.Errorf("%s --%s=%s: words of programs: %s", path, flag.Name, value, command.FlagError(cmd, err))
	}
	_ = flag.Value.Set(before)
	flag.Changed = false
}

func judgeFlag(t *testing.T, path, args []string, flag, value string) {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	cluster := apitest.Handler(apitest.New(clitest.Now), nil, slog.New(slog.DiscardHandler))
	socket, stop, err := clitest.ServeHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/plan") {
			mu.Lock()
			asked = append(asked, r.Method+" "+r.URL.Path)
			mu.Unlock()
		}
		cluster.ServeHTTP(w, r)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out, errs bytes.Buffer
	// What comes last counts.
	line := slices.Concat([]string{"--socket", socket}, path, args, []string{"--" + flag + "=" + value})
	code := execute(t.Context(), command.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}, line)
	mu.Lock()
	defer mu.Unlock()
	said := errs.String()
	switch {
	case code == exitDone:
		t.Errorf("%q: no error, and %q", line, out.String())
	case len(asked) > 0:
		t.Errorf("%q: it was told after %q: %s", line, asked, said)
	case !strings.HasPrefix(said, "crawlbox: ") || strings.Count(said, "\n") != 1:
		t.Errorf("%q: not one line: %q", line, said)
	case len(testenv.Raw(said)) > 0:
		t.Errorf("%q: the words %q of programs: %s", line, testenv.Raw(said), said)
	case testenv.Doubled(said) != "":
		t.Errorf("%q: it is said twice: %s", line, said)
	case code == exitUsage && !strings.Contains(said, "--"+flag):
		t.Errorf("%q: it does not say which flag: %s", line, said)
	}
}
