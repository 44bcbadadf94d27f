package cli

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// TestNames_AllDoorsAgree brings names to every door that lets them in.
func TestNames_AllDoorsAgree(t *testing.T) {
	t.Parallel()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client := api.NewClient(socket)
	run := func(args ...string) error {
		env := command.Env{
			Stdin:  strings.NewReader(""),
			Stdout: io.Discard,
			Stderr: io.Discard,
			Now:    func() time.Time { return clitest.Now },
		}
		if code := execute(t.Context(), env, append([]string{"--socket", socket}, args...)); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	}
	past, err := history.Open(historytest.In(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := access.OpenAccounts(&inMemory{})
	if err != nil {
		t.Fatal(err)
	}
	odd := []string{
		"a", "9", "Spider-2_b", "a__b", "a-", "_a", "-a", "a.b",
		"a.b-c_1", "A", "a b", "ä", "manager", "worker", "Worker", "king",
		strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 63), strings.Repeat("a", 64),
	}
	for _, rule := range []struct {
		check func(string) error
		doors map[string]func(name string) error
	}{
		{naming.CheckService, map[string]func(string) error{
			"deploy --name": func(name string) error { return run("deploy", "crawl:1", "--dry-run", "--name="+name) },
			"API": func(name string) error {
				_, err := client.DeployPlan(t.Context(), api.DeployRequest{Service: name, Image: "crawl:1"})
				return err
			},
			"config": func(name string) error {
				_, err := configs.Parse("crawlbox.yaml", fmt.Appendf(nil, "services:\n  %q: {image: i}\n", name))
				return err
			},
			"history": func(name string) error {
				_, err := past.Begin(name, history.Entry{})
				return err
			},
		}},
		{naming.CheckAccount, map[string]func(string) error{
			"registry login": func(name string) error { return run("registry", "login", "--", name) },
			"API": func(name string) error {
				_, err := client.RegistryLogin(t.Context(), name)
				return err
			},
			"registry": func(name string) error {
				_, err := accounts.Issue(name)
				return err
			},
		}},
		{naming.CheckRole, map[string]func(string) error{
			"token": func(name string) error { return run("token", "--", name) },
			"API": func(name string) error {
				_, err := client.Token(t.Context(), name)
				return err
			},
		}},
	} {
		for _, name := range odd {
			want := rule.check(name)
			for door, let := range rule.doors {
				if got := let(name); (got == nil) != (want == nil) {
					t.Errorf("%s lets %q in: %t (%v), want %t", door, name, got == nil, got, want == nil)
				}
			}
		}
	}
}

// inMemory is a document that is on no disk.
type inMemory struct{ data []byte }

func (d *inMemory) Load() ([]byte, error) {
	if d.data == nil {
		return nil, fs.ErrNotExist
	}
	return d.data, nil
}

func (d *inMemory) Update(_ string, fn func([]byte) ([]byte, error)) (err error) {
	d.data, err = fn(d.data)
	return err
}

func (d *inMemory) Changed() <-chan struct{} { return nil }
