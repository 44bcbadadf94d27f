package queueproc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

func TestGroupMemory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"memory.max":                               "max\n",
		"system.slice/memory.max":                  "4000\n",
		"system.slice/crawlbox.service/memory.max": "max\n",
		"memory/docker/memory.limit_in_bytes":      "3000\n",
		"memory/docker/x/memory.limit_in_bytes":    "9223372036854771712\n",
	} {
		full := filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700),
			os.WriteFile(full, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for list, want := range map[string]int64{
		"":                                    5000,
		"0::/":                                5000,
		"0::/system.slice/crawlbox.service\n": 4000,
		"0::/../../system.slice\n":            4000,
		"12:memory:/docker/x\n11:cpu,cpuacct:/\n0::/none\n": 3000,
		"12:cpu:/docker/x\n": 5000,
		"nonsense\n:\n::\n0::\n0::system.slice/none/below\n": 4000,
	} {
		if got := groupMemory(root, list, 5000); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
}

// TestEngine_Advice: what is to be done about an engine fits who runs it.
func TestEngine_Advice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		engine              Engine
		away, login, refuse string
	}{
		{
			Engine{Name: "redis://r:6379/0", Addr: "r:6379", Setting: "queue.url"},
			"correct its address in queue.url", "in queue.url", "correct queue.url and start crawlbox again",
		},
		{
			Engine{Name: "redis://r:6379/0", Addr: "r:6379", Setting: "queue.url_file"},
			"correct its address in queue.url_file", "in queue.url_file", "correct queue.url_file",
		},
		{Engine{Name: "valkey"}, "crawlbox runs it", "", "crawlbox runs it"},
		{Engine{Name: "valkey on m2", Addr: "10.0.0.2:6379", Epoch: 3}, "crawlbox runs it", "", "crawlbox runs it"},
		{Engine{Name: "its home m1", Addr: "10.0.0.1:7891", Front: true}, "crawlbox on it", "", "within seconds"},
	} {
		is := c.engine.advice()
		if !strings.Contains(is.Away, c.away) || is.Login != c.login || !strings.Contains(is.Refused, c.refuse) {
			t.Errorf("of %+v: %+v", c.engine, is)
		}
	}
}

// FuzzReport has a process that an attacker has taken over say anything: it is bounded,
// and what is shown of it is one line of printable text about the queue's directory.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"ready":true}` + "\n" + `{"progress":{"Commands":1,"Busy":2}}`))
	f.Add([]byte(`{"failed":{"text":"x","corrupt":{"File":"../../etc/passwd\n","Offset":-1,"Reason":"\u001b[2J"}}}`))
	f.Add([]byte(`{"failed":{"text":"\n\r` + strings.Repeat("x", 2000) + `"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		reports := make(chan report)
		go readLines(strings.NewReader(string(data)), reports)
		for r := range reports {
			if r.Failed == nil {
				continue
			}
			err := r.Failed.error("/dir")
			var corrupt *journal.CorruptError
			if errors.As(err, &corrupt) && filepath.Dir(corrupt.File) != "/dir" && corrupt.File != "/dir" {
				t.Fatalf("it speaks of %q", corrupt.File)
			}
			for _, r := range err.Error() {
				if !unicode.IsPrint(r) {
					t.Fatalf("it says %q", err)
				}
			}
			if len(err.Error()) > 8000 {
				t.Fatalf("it says %d bytes", len(err.Error()))
			}
		}
	})
}
