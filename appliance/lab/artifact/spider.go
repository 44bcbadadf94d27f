package artifact

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// Spider returns a directory with the walkthrough's spider.py and Dockerfile, ready
// for docker build: the queue's host and password are filled in, all else is as
// a reader of the walkthrough types it. All hosts but Systemd ones see the directory
// under the same path.
func Spider(t frame.TB, queueHost, password string) string {
	t.Helper()
	dir, err := spider(t, queueHost, password)
	if err != nil {
		t.Fatalf("lab: copy spider: %v", err)
	}
	return dir
}

func spider(t frame.TB, queueHost, password string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := frame.Scratch(t)
	if err != nil {
		return "", err
	}
	fill := strings.NewReplacer("MASTER", queueHost, "PASSWORD", password)
	for _, name := range []string{"spider.py", "Dockerfile"} {
		text, err := os.ReadFile(filepath.Join(root, "testdata/spiders/walkthrough", name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(string(text))), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}
