package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// newLab returns a lab in which all that crawlbox says to people is searched for words that only who
// wrote the programs knows.
func newLab(t testing.TB) *lab.Lab {
	l := lab.New(t)
	l.Hear(func(args []string, r lab.Result) {
		if !slices.Contains(args, "crawlbox") {
			return
		}
		for line := range strings.Lines(r.Stdout + "\n" + r.Stderr) {
			if !forPeople(args) && !strings.HasPrefix(line, "crawlbox: ") {
				continue
			}
			line = clusterID.ReplaceAllString(line, "Cluster:")
			line = forDocker.ReplaceAllString(line, "``")
			if raw := append(testenv.Raw(line), testenv.RawIDs(line)...); len(raw) > 0 {
				t.Errorf("%s says %q to people: %s", strings.Join(args, " "), raw, line)
			}
			if twice := testenv.Doubled(line); twice != "" && strings.HasPrefix(line, "crawlbox: ") {
				t.Errorf("%s says %q twice: %s", strings.Join(args, " "), twice, line)
			}
		}
	})
	return l
}

// clusterID is the ID of the swarm in a status: it has no name.
var clusterID = regexp.MustCompile(`^Cluster: +\w+`)

// forDocker are commands of Docker, which may have to name what has no name of its own.
var forDocker = regexp.MustCompile("`docker [^`]*`")

// forPeople reports whether all that a command says is crawlbox's own and for people: not what is for
// programs, and what spiders wrote.
func forPeople(args []string) bool {
	return !slices.ContainsFunc(args, func(arg string) bool {
		return slices.Contains([]string{"--json", "inspect", "logs", "peek", "state", "token", "url"}, arg)
	})
}

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		os.Exit(serveHolders())
	}
	testenv.RootForAll()
	os.Exit(m.Run())
}
