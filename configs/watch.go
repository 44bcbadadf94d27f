package configs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/crawlbox/crawlbox/configs/document"
)

// quiet is how long files must rest before a change counts. Editors and
// configuration tools write in several steps.
const quiet = 200 * time.Millisecond

// patience bounds the wait for rest in a directory that never rests.
const patience = 2 * time.Second

// Watch tells when the content of the config file, or of an env_file of its
// services, has become another. Call it before [Load], so that no change falls
// between the two. An empty path is [DefaultPath]. The file, and its directory,
// need not exist yet; editors may replace it, and links on the way to it, as
// Kubernetes makes them, may change.
//
// Changes that come while the receiver is busy are joined into one. The channel
// is closed when ctx ends.
func Watch(ctx context.Context, path string, log *slog.Logger) (<-chan struct{}, error) {
	if path == "" {
		path = DefaultPath
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch config file: %w", err)
	}
	notify, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		return nil, fmt.Errorf("watch config file %s: too many watchers on this machine: raise the sysctl "+
			"fs.inotify.max_user_instances: %w", file, err)
	}
	if err != nil {
		return nil, fmt.Errorf("watch config file %s: %w", file, err)
	}
	w := &watcher{
		file:    file,
		files:   []string{file},
		notify:  notify,
		log:     log,
		changes: make(chan struct{}, 1),
	}
	w.follow()
	w.seen = w.fingerprint()
	go w.run(ctx)
	return w.changes, nil
}

type watcher struct {
	file    string
	files   []string // The config file and its env_files.
	notify  *fsnotify.Watcher
	log     *slog.Logger
	seen    map[string][sha256.Size]byte
	changes chan struct{}
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.changes)
	defer w.notify.Close()
	rest := time.NewTimer(quiet)
	rest.Stop()
	defer rest.Stop()
	var first time.Time // The first event since the last look; zero without one.
	for {
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
			first = time.Time{}
			w.compare()
			continue
		case <-w.notify.Events:
		case err := <-w.notify.Errors:
			// The queue has overflowed: what was lost may have been ours.
			w.log.Warn("watching the config file", "file", w.file, "error", err)
		}
		if first.IsZero() {
			first = time.Now()
		}
		rest.Reset(min(quiet, max(0, patience-time.Since(first))))
	}
}

// compare looks at the content, since the directories see many changes that are
// not ours, and an editor's touch is none. Directories come first, so that what
// changes after the look is seen by the next.
func (w *watcher) compare() {
	w.follow()
	now := w.fingerprint()
	if maps.Equal(w.seen, now) {
		return
	}
	w.seen = now
	select {
	case w.changes <- struct{}{}:
	default: // One is waiting already.
	}
}

// follow finds the env_files and watches every directory on the way to a file.
// Directories are watched anew each time: one that was renamed would else go on
// reporting under its old name.
func (w *watcher) follow() {
	w.files = w.mentioned()
	want := map[string]bool{}
	for _, file := range w.files {
		directories(file, want)
	}
	for _, watched := range w.notify.WatchList() {
		_ = w.notify.Remove(watched) // A directory that is gone is removed already.
	}
	for directory := range want {
		if err := w.notify.Add(directory); err != nil {
			w.log.Warn("failed to watch a directory of the config file", "directory", directory, "error", err)
		}
	}
}

// mentioned returns the config file and its env_files. While the file is broken, the
// former ones count too: it may not have got as far as naming them.
func (w *watcher) mentioned() []string {
	data, err := document.ReadBounded(w.file)
	if err != nil {
		return w.files
	}
	files := []string{w.file}
	_, envFiles, err := parse(w.file, data, nil)
	if err != nil {
		files = slices.Clone(w.files)
	}
	files = append(files, envFiles...)
	slices.Sort(files)
	return slices.Compact(files)
}

// fingerprint hashes each file that can be read.
func (w *watcher) fingerprint() map[string][sha256.Size]byte {
	sums := map[string][sha256.Size]byte{}
	for _, file := range w.files {
		if data, err := document.ReadBounded(file); err == nil {
			sums[file] = sha256.Sum256(data)
		}
	}
	return sums
}

// maxLinks is how many links on the way to a file are followed, as in Linux.
const maxLinks = 40

// directories adds the directories in which a change can make path another file: that
// of each link on the way, and the nearest that exists when one is missing.
func directories(path string, into map[string]bool) {
	for range maxLinks {
		directory := nearestDirectory(filepath.Dir(path))
		into[directory] = true
		link, next := followOne(path)
		if link == "" {
			return
		}
		into[filepath.Dir(link)] = true
		path = next
	}
}

func nearestDirectory(directory string) string {
	for {
		if info, err := os.Stat(directory); err == nil && info.IsDir() || directory == filepath.Dir(directory) {
			return directory
		}
		directory = filepath.Dir(directory)
	}
}

// followOne finds the first link in path, and what path is when it is followed.
func followOne(path string) (link, next string) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, at := 0, "/"; i < len(parts); i++ {
		at = filepath.Join(at, parts[i])
		target, err := os.Readlink(at)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(at), target)
		}
		return at, filepath.Join(append([]string{target}, parts[i+1:]...)...)
	}
	return "", ""
}
