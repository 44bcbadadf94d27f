package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
)

func TestSecretFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		before, arg string
		want        int
	}{
		{"worker", "--join", -1},
		{"--join", "damaged", 0},
		{"--join", "", -1},
		{"worker", "--join=damaged", 7},
		{"worker", "CBX1-ABCDEFGH", 0},
		{"worker", "-jCBX1-ABCDEFGH", 2},
		{"--join-file", "f", -1},
		{"worker", "--joint=a", -1},
		{"--join", "--join=x", 0},
		{"worker", "CBX1-…", -1},
	} {
		if got := secretFrom(tt.before, tt.arg); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}

// TestArgs_HiddenFromPs runs the binary itself with a command that waits for an
// answer, and tells by its request what it took its arguments for.
func TestArgs_HiddenFromPs(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "crawlbox")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	items := []string{
		"--join", "CBX1-ABCDEFGHJKMNPQ", "--join=CBX1-ABCDEFGHJKMNPQ", "--join", "damaged", "--join=damaged", "last",
	}
	took := make(chan []string, 1)
	socket, stop, err := clitest.ServeHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var in api.Items
		_ = json.NewDecoder(r.Body).Decode(&in)
		took <- in.Items
		<-r.Context().Done()
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cmd := exec.CommandContext(t.Context(), binary,
		append([]string{"--socket", socket, "queue", "push", "key", "--"}, items...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	select {
	case got := <-took:
		if strings.Join(got, " ") != strings.Join(items, " ") {
			t.Errorf("crawlbox took its arguments for %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("crawlbox does not call")
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	cmdline := string(b)
	if strings.Contains(cmdline, "CBX1") || strings.Contains(cmdline, "damaged") {
		t.Errorf("ps shows %q", cmdline)
	}
	if n := strings.Count(cmdline, "--join"); n != 4 || !strings.HasSuffix(cmdline, "\x00last\x00") {
		t.Errorf("ps shows %q", cmdline)
	}
}
