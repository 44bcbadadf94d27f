package mirror

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

func TestScrub(t *testing.T) {
	up := startManager(t)
	img, d := image(t)
	n := start(t, up.URL, Options{})
	n.pulled(up, "spider:1", img)
	n.stop()
	layer := n.cache.Path(cache.Blob(partsOf(t, img)[2]))
	manifest := n.cache.Path(cache.Manifest(d))
	for _, path := range []string{layer, manifest} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2]++ // a bad disk
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	n = start(t, up.URL, Options{Dir: n.opts.Dir})
	waitFor(t, func() error {
		if kept := n.has(img); kept != 3 {
			return fmt.Errorf("%d of 5 parts are kept", kept)
		}
		return nil
	})
	for _, path := range []string{layer, manifest} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the damaged file is still there: %v", err)
		}
	}
	waitFor(t, func() error { // nor is it looked at again before it is needed
		for _, ent := range n.cache.Files() {
			if !ent.Sound.Load() {
				return fmt.Errorf("%s was not checked", ent.Path)
			}
		}
		return nil
	})
	if err := pull(n.addr, "spider:1"); err != nil {
		t.Error(err)
	}
	n.awaitDownloads()
	n.wantParts("after the next pull", img, 5)
}

// A check that would take days neither keeps the mirror from closing nor a reader
// waiting.
func TestScrub_IsSlow(t *testing.T) {
	up := startManager(t)
	img, d := image(t)
	n := start(t, up.URL, Options{})
	n.pulled(up, "spider:1", img)
	n.stop()
	layer := partsOf(t, img)[2]
	if err := os.Truncate(n.cache.Path(cache.Blob(layer)), 1000); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	var log bytes.Buffer
	n = startLogged(t, up.URL, Options{Dir: n.opts.Dir, ScrubRate: 1}, slog.New(slog.NewTextHandler(&log, nil)))
	if err := pull(n.addr, "spider@"+d.String()); err != nil {
		t.Error(err)
	}
	n.awaitDownloads()
	n.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
	if got := bytes.Count(log.Bytes(), []byte("damaged")); got != 1 {
		t.Errorf("the log has %d lines on the damaged file: %s", got, log.String())
	}
}
