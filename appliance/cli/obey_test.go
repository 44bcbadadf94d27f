package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// evil is at the end of all that others say in these tests: a title, a cleared screen, the
// clipboard, a line over another, and controls of eight bits.
const evil = "\x1b]0;PWNED\x07\x1b[2J\x1b[H\x1b]52;c;aGk=\x07\rover\x08\u009b31m\u009d\x7f\x00\x1b[31mred"

// evilSeen is a part of it as a terminal may show it.
const evilSeen = "^[]0;PWNED^G"

// asksOthers are the commands that print what others wrote, and how they are called.
var asksOthers = map[string][]string{
	"status":           nil,
	"nodes":            nil,
	"node ls":          nil,
	"ls":               nil,
	"ps":               {"--all"},
	"logs":             {"spider", "-t", "--all"},
	"history":          {"spider"},
	"inspect":          {"spider"},
	"images ls":        nil,
	"registry ls":      nil,
	"registry login":   nil,
	"token":            nil,
	"token ls":         nil,
	"token rotate":     nil,
	"queue url":        nil,
	"queue len":        nil,
	"queue peek":       {"robots"},
	"queue watch":      {"--interval", "100ms"},
	"queue inflight":   nil,
	"queue dead ls":    {"example:swarm:spider"},
	"queue import":     {"redis://127.0.0.1:1"},
	"queue export":     {"redis://127.0.0.1:1"},
	"config show":      nil,
	"ca":               nil,
	"deploy":           {"localhost:8003/spider:0.02", "--name", "spider"},
	"build":            {"$DIR"},
	"rollback":         {"spider"},
	"restart":          {"spider"},
	"run":              {"spider"},
	"run show":         {"spider-2"},
	"run stop":         {"spider-2"},
	"run rm":           {"nothing"},
	"runs":             nil,
	"rerun":            {"spider-2"},
	"alerts ls":        nil,
	"alerts test":      {"nothing"},
	"alerts unsilence": {"nothing"},
	"schedule ls":      nil,
	"schedule next":    nil,
	"schedule pause":   {"nothing"},
	"schedule resume":  {"nothing"},
	"schedule rm":      {"nothing"},
	"update":           {"nobody", "--image", "localhost:8003/spider:0.02"},
	"scale":            {"broken=3"},
	"autoscale":        {"spider", "--queue", "k", "--per-replica", "2", "--max", "3"},
	"images rm":        {"nothing:1"},
	"node rm":          {"nobody"},
	"node drain":       {"nobody"},
	"node label":       {"h1"},
	"node activate":    {"nobody"},
	"node promote":     {"nobody"},
	"node demote":      {"nobody"},
	"token revoke":     {"nothing"},
	"registry logout":  {"nobody"},
	"backup ls":        nil,
	"leave":            nil,
}

// asksNobody are those that print only what is crawlbox's or its user's own, such as counts, and exec,
// which is in TestExec.
var asksNobody = strings.Fields(`manager worker install install|manager install|worker uninstall doctor demo version
	help completion upgrade config|init config|check state|show state|log recovery-key recover move
	start stop rm push
	images|gc schedule|add alerts|silence queue|push queue|clear queue|dead|retry queue|dead|drop exec`)

// sayEvil makes an API end all texts that it says with evil.
func sayEvil(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		for line := range bytes.Lines(rec.Body.Bytes()) {
			var v any
			if json.Unmarshal(line, &v) != nil {
				_, _ = w.Write(line)
				continue
			}
			_ = json.NewEncoder(w).Encode(withEvil(v))
		}
	})
}

func withEvil(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return v
		}
		return v + evil
	case []any:
		for i := range v {
			v[i] = withEvil(v[i])
		}
	case map[string]any:
		for key := range v {
			if key != "state" { // by which it is decided how things are shown
				v[key] = withEvil(v[key])
			}
		}
	}
	return v
}

// painting is what crawlbox itself says to a terminal, with colours.
var painting = regexp.MustCompile(`\x1b\[[0-9]+A\x1b\[J|\x1b\[[0-9;]*m`)

// TestTerminal_ObeysNobody: what spiders, host names, versions and images are called can make
// a terminal do nothing, whichever command shows them.
func TestTerminal_ObeysNobody(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "")
	for path, args := range asksOthers {
		t.Run(path, func(t *testing.T) {
			evil := sayEvil(apitest.Handler(apitest.New(clitest.Now), nil, slog.New(slog.DiscardHandler)))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			asked := atomic.Int64{}
			socket, stop, err := clitest.ServeHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				evil.ServeHTTP(w, r)
				if path == "queue watch" && asked.Add(1) == 3 { // which goes on until it is interrupted
					cancel()
				}
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			tty, shown := clitest.OpenTerminal(t, 200, 50)
			env := command.Env{
				Stdin:  strings.NewReader("y\n"),
				Stdout: tty,
				Stderr: tty,
				Now:    func() time.Time { return clitest.Now },
			}
			args = append(append(strings.Fields(path), args...), "--socket", socket)
			for i, arg := range args {
				if arg == "$DIR" {
					args[i] = t.TempDir()
					file := filepath.Join(args[i], "Dockerfile")
					if err := os.WriteFile(file, []byte("FROM x\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			execute(ctx, env, args)
			text := shown()
			if !strings.Contains(text, evilSeen) && path != "inspect" { // which is JSON
				t.Errorf("it shows nothing that others wrote: %q", text)
			}
			rest := painting.ReplaceAllString(text, "")
			if i := strings.IndexFunc(rest, func(r rune) bool {
				return unicode.IsControl(r) && r != '\n' && r != '\t'
			}); i >= 0 {
				t.Errorf("the terminal gets %q", rest[max(0, i-20):min(len(rest), i+20)])
			}
		})
	}
	eachCommand(New(command.Env{}), func(path string) {
		_, asks := asksOthers[path]
		own := false
		for _, name := range asksNobody {
			own = own || strings.ReplaceAll(name, "|", " ") == path
		}
		if asks == own {
			t.Errorf("does `crawlbox %s` print what others wrote? Say so in this test", path)
		}
	})
}

// eachCommand calls fn with all commands that do something and are shown.
func eachCommand(cmd *cobra.Command, fn func(path string)) {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	if path != "" && cmd.Runnable() && !cmd.Hidden && (!cmd.HasSubCommands() || cmd.Name() == "token") {
		fn(path)
	}
	for _, sub := range cmd.Commands() {
		eachCommand(sub, fn)
	}
}

// TestTerminal_JSONIsAsItIs: programs get what others wrote, also on a terminal.
func TestTerminal_JSONIsAsItIs(t *testing.T) {
	cluster := apitest.New(clitest.Now)
	socket, stop, err := clitest.ServeHandler(sayEvil(apitest.Handler(cluster, nil, slog.New(slog.DiscardHandler))))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, args := range [][]string{{"logs", "spider.1", "-n", "1"}, {"nodes"}, {"scale", "spider=4"}} {
		tty, shown := clitest.OpenTerminal(t, 200, 50)
		env := command.Env{Stdin: tty, Stdout: tty, Stderr: tty, Now: func() time.Time { return clitest.Now }}
		execute(t.Context(), env, append(args, "--json", "--socket", socket))
		text := shown()
		var v any
		found := ""
		for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
			if err := dec.Decode(&v); err != nil {
				t.Fatalf("%v: %v in %q", args, err, text)
			}
			b, _ := json.Marshal(v)
			found += string(b)
		}
		want, _ := json.Marshal(evil)
		if !strings.Contains(found, strings.Trim(string(want), `"`)) {
			t.Errorf("%v: it is not there as it was: %.300s", args, found)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			t.Errorf("%v: the terminal gets %q", args, text)
		}
	}
}
