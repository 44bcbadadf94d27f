package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Dir returns where the state is, in a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, "state") }

// Files returns where versions before have the documents, in a data directory.
func Files(dataDir string) map[string]string {
	return map[string]string{
		CA:         filepath.Join(dataDir, "ca", "ca.pem"),
		Tokens:     filepath.Join(dataDir, "ca", "tokens.json"),
		Members:    filepath.Join(dataDir, "ca", "members.json"),
		Removals:   filepath.Join(dataDir, "ca", "removals.json"),
		Accounts:   filepath.Join(dataDir, "ca", "accounts.json"),
		GossipKeys: filepath.Join(dataDir, "gossip.json"),
	}
}

// Dirs returns the directories of files in which versions before have documents, in a data
// directory.
func Dirs(dataDir string) map[string]string {
	return map[string]string{History: filepath.Join(dataDir, "deploys")}
}

const (
	extension = ".json"
	// aside is added to the name of a file that is none of a document.
	aside = ".damaged"
	// maxLate is after how many commits the files are written to the disk itself.
	maxLate = keepCommits / 2
)

// file returns the file of a document, which not all have.
func (d *Disk) file(name string) (path string, ok bool) {
	for prefix, dir := range d.Dirs {
		if rest, ok := strings.CutPrefix(name, prefix); ok && !strings.Contains(rest, "/") {
			return filepath.Join(dir, rest+extension), true
		}
	}
	path, ok = d.Files[name]
	return path, ok
}

// filed returns the names of the documents that have files, or should have. It removes what a
// power cut has left of files that were being written, and leaves alone what has another name in
// directories, such as a damaged file that was put aside.
func (d *Disk) filed() ([]string, error) {
	names := map[string]bool{}
	for name, path := range d.Files {
		names[name] = true
		if err := durable.Sweep(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for name := range d.head().Tree {
		if _, ok := d.file(name); ok {
			names[name] = true
		}
	}
	for prefix, dir := range d.Dirs {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, f := range list {
			if !f.Type().IsRegular() { // a FIFO would be waited for
				continue
			}
			if durable.Leftover(f.Name()) {
				_ = os.Remove(filepath.Join(dir, f.Name()))
			}
			if name, ok := strings.CutSuffix(f.Name(), extension); ok && check(Contents{prefix + name: nil}) == nil {
				names[prefix+name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// reconcile takes over what versions before have written to their files, and puts right what
// a power cut kept from being exported. The caller is in locked.
func (d *Disk) reconcile() error {
	exported, err := os.ReadFile(d.path(exportedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.exported = Version(bytes.TrimSpace(exported))
	names, err := d.filed()
	if err != nil {
		return err
	}
	changes, stale, there, known := Contents{}, []string{}, 0, 0
	other := d.otherCluster()
	for _, name := range names {
		path, _ := d.file(name)
		_, single := d.Files[name]
		b, ok := d.head().Tree[name]
		if ok && single {
			known++
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			if stale = append(stale, name); single && other {
				changes[name] = nil
			}
			continue
		}
		if err != nil {
			return err
		}
		if single {
			there++
		}
		hash, foreign := hashOf(data), single && other
		switch {
		case ok && hash == b.Hash:
		case !foreign && d.had(name, data):
			stale = append(stale, name)
		case d.bad(name, data) == nil:
			changes[name] = data
		case ok && !foreign, !single && d.head().id != "": // there is a state without it
			if err := d.putAside(path, d.bad(name, data)); err != nil {
				return err
			}
			stale = append(stale, name)
		default:
			return fmt.Errorf("%s is damaged (%w): restore it from a backup, or move it away if what it has may be "+
				"lost",
				path, d.bad(name, data))
		}
	}
	message := "taken over from a version before"
	if there == 0 && known > 0 && d.index(d.exported) >= 0 && (d.Left == nil || d.Left()) {
		message = "left by a version before"
		for name := range d.Files { // it leaves the directories
			changes[name] = nil
		}
	}
	if err := check(changes); err != nil {
		return err
	}
	if len(changes) > 0 {
		if d.head().id != "" {
			d.Log.Warn("files beside the cluster's state are not as that has them, and were taken over, as those of a "+
				"version before; was the state restored alone? Then stop crawlbox and restore the whole data directory",
				"documents", slices.Sorted(maps.Keys(changes)))
		}
		if err := d.commitHere(changes, message); err != nil {
			return err
		}
	}
	d.report(d.flush(stale...))
	return nil
}

// mend writes documents again that the disk has damaged and whose files hold what they should. The
// caller is in locked.
func (d *Disk) mend() error {
	head, changes := d.head(), Contents{}
	for name, b := range head.Tree {
		_, bad := b.read(d.dir)
		if bad == nil {
			continue
		}
		path, _ := d.file(name)
		data, err := os.ReadFile(path)
		if err != nil || hashOf(data) != b.Hash {
			return damaged(d.dir, fmt.Errorf("%w: the document %s", bad, name))
		}
		d.Log.Warn("a document of the cluster's state was damaged and is as it was, from the file beside it; look at "+
			"the disk with `dmesg`", "document", name, "file", path, "error", bad)
		changes[name] = data
	}
	if len(changes) == 0 {
		return nil
	}
	head.Tree = maps.Clone(head.Tree)
	maps.DeleteFunc(head.Tree, func(name string, _ blob) bool { return changes[name] != nil })
	d.mu.Lock()
	d.history[len(d.history)-1] = head
	d.mu.Unlock()
	return d.commitHere(changes, "mended what was damaged")
}

// commitHere makes a commit that the cluster is told of later: a node starts without its Docker too.
func (d *Disk) commitHere(changes Contents, message string) error {
	_, err := d.commit(changes, message, func(_ snapshot, _ []byte, keep func() error) error { return keep() })
	return err
}

// otherCluster reports whether a version before has made another cluster since: with another CA.
// What was kept of the one before is not for that.
func (d *Disk) otherCluster() bool {
	b, known := d.head().Tree[CA]
	path, ok := d.Files[CA]
	if !ok || !known {
		return false
	}
	data, err := os.ReadFile(path)
	return err == nil && hashOf(data) != b.Hash && !d.had(CA, data) && d.bad(CA, data) == nil
}

// putAside has nobody take a damaged file for a document.
func (d *Disk) putAside(path string, bad error) error {
	d.Log.Warn("put aside a damaged file of the version before; the state without it stays", "file", path+aside,
		"error", bad)
	return os.Rename(path, path+aside)
}

// bad returns why a content is none of a document.
func (d *Disk) bad(name string, data []byte) error {
	if d.Check == nil {
		return nil
	}
	return d.Check(name, data)
}

// had reports whether a document had a content since the files were written for sure, so that
// this is what a power cut has left of it. Where that was too long ago, any content is such one.
func (d *Disk) had(name string, data []byte) bool {
	since, hash := d.index(d.exported), hashOf(data)
	switch {
	case since < 0:
		return len(d.history) > 0
	case len(data) == 0 && since < len(d.history)-1: // the disk has its name and no more
		return true
	}
	return slices.ContainsFunc(d.history[since:], func(s snapshot) bool { return s.Tree[name].Hash == hash })
}

// export writes changed documents to the files of versions before. It leaves to the kernel when
// they come to the disk, but for now and then. Where that fails the commit stands, and the next
// one tries again.
func (d *Disk) export(changed Contents) {
	if since := d.index(d.exported); since < 0 || len(d.history)-since > maxLate || d.failing != "" {
		d.report(d.flush())
		return
	}
	d.report(d.write(false, slices.Collect(maps.Keys(changed))))
}

// report says it once when files cannot be written, and when they can be again.
func (d *Disk) report(err error) {
	switch {
	case err == nil && d.failing != "":
		d.failing = ""
		d.Log.Info("the files for the version before are written again")
	case err != nil && d.failing != err.Error():
		d.failing = err.Error()
		d.Log.Warn("failed to write the files for the version before; until a commit can, going back to it loses "+
			"changes",
			"error", explained(d.dir, err))
	}
}

// flush has the files on the disk of documents that may not be there as they are, and of more.
func (d *Disk) flush(more ...string) error {
	head := d.head()
	if head.id == "" || head.id == d.exported && len(more) == 0 {
		return nil
	}
	if since := d.index(d.exported); since >= 0 {
		more = append(more, changedIn(d.history[since].Tree, head.Tree)...)
	} else {
		all, err := d.filed()
		if err != nil {
			return err
		}
		more = all
	}
	if err := d.write(true, more); err != nil {
		return err
	}
	if err := durable.WriteFile(d.path(exportedFile), []byte(head.id+"\n"), secretFile); err != nil {
		return err
	}
	d.exported = head.id
	return nil
}

// write writes the files of documents, all that it can, and where they are to be durable it syncs
// each directory once. It returns the first error.
func (d *Disk) write(sync bool, names []string) (err error) {
	failed := func(path string, e error) {
		if e != nil && err == nil {
			err = fmt.Errorf("write %s: %w", path, e)
		}
	}
	slices.Sort(names)
	dirs := map[string]bool{}
	for _, name := range slices.Compact(names) {
		if path, ok := d.file(name); ok {
			failed(path, d.writeOne(name, path, sync))
			dirs[filepath.Dir(path)] = sync
			d.step("file")
		}
	}
	for dir, sync := range dirs {
		if sync {
			failed(dir, durable.SyncDir(dir))
		}
	}
	return err
}

// writeOne writes the file of a document, or removes that of one that there is not.
func (d *Disk) writeOne(name, path string, sync bool) error {
	if err := os.MkdirAll(filepath.Dir(path), secretDir); err != nil {
		return err
	}
	b, ok := d.head().Tree[name]
	if !ok {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := b.read(d.dir)
	if err != nil {
		return damaged(d.dir, err)
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s%d", filepath.Base(path), os.Getpid()))
	defer os.Remove(temp) // does nothing once it has got its name
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, secretFile)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
