// Package standby keeps copies of the embedded queue on other managers, and has one of them go on with it when the
// machine that is its home is gone.
//
//	home ── what its journal has more, every two seconds ──▶ two other managers
//
// # Copies
//
// A copy is the queue's journal, file by file (package journal): what the process without rights has written, which
// only grows at its end. So a copy costs what was written since the last one, and nothing while nothing is. It is
// whole at any moment, with the last record cut off at the most, which a start drops. When the process is another
// one its files may have been cut shorter, and a copy begins anew beside the one that is there.
//
// The bytes of a copy are a spider's, and nothing but that process looks into them.
//
// # One home
//
//	home ── is it me still? each second ──▶ all managers: serves for leaseFor after a majority said so
//	leader ── agree to home N+1? ──▶ all managers: a majority, each silent for Silence > leaseFor
//	leader ── be it ──▶ the one of them with the newest copy
//
// Homes are numbered. A manager remembers on its disk the highest number that asked or that it agreed to, agrees to
// each once, tells no home with a lower one that it is one, and tells another one than the last only Silence after it
// told that. Two majorities have a manager in common, so that at most one home serves at a time, whatever gets lost,
// is late or starts again; TestOneHome tries it. Clocks count, not what they say: a machine that stands still and goes
// on may serve until it hears more.
//
// Who was elected may begin late, or never. A home that comes back before has the others agree to a higher number for
// itself, and so it is the other one that stands down, which has fewer items.
//
// Two managers have no majority without the home: then nothing is held and nobody takes over.
package standby

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxHeader bounds what is said before the bytes of files: the config file and the password are in it.
	maxHeader = 8 << 20
	// maxFiles bounds the files of a journal.
	maxFiles = 10_000
	// maxRun bounds the name of a run, in bytes.
	maxRun = 64
)

// parcel is what goes over the wire, before the bytes of its files one after the other.
type parcel struct {
	Run   string            `json:"run"`   // of the queue's process
	Home  string            `json:"home"`  // the name of its machine
	Small map[string][]byte `json:"small"` // as of home.Small
	Files []part            `json:"files"` // all that count, in their order
}

// part is a file of the journal, of which Size bytes follow that begin at At.
type part struct {
	Name string `json:"name"`
	At   int64  `json:"at"`
	Size int64  `json:"size"`
}

var (
	runName     = regexp.MustCompile(`^[0-9A-Za-z-]+$`)
	journalName = regexp.MustCompile(`^(segment|snapshot)-[0-9]{10}$`)
	smallNames  = []string{"config", "queue.password", "queue.dir", "queue.before", "home.number"}
)

var errParcel = errors.New("it can't be read what is to be kept of the queue")

// valid reports whether a parcel is one, whoever sends it.
func (p parcel) valid() bool {
	if len(p.Run) > maxRun || !runName.MatchString(p.Run) || len(p.Home) > 256 || len(p.Files) > maxFiles {
		return false
	}
	for name := range p.Small {
		if !slices.Contains(smallNames, name) {
			return false
		}
	}
	seen := map[string]bool{}
	for _, f := range p.Files {
		if !journalName.MatchString(f.Name) || f.At < 0 || f.Size < 0 || seen[f.Name] || f.At+f.Size < 0 {
			return false
		}
		seen[f.Name] = true
	}
	return true
}

// write writes a parcel without the bytes of its files.
func (p parcel) write(w io.Writer) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint64(nil, uint64(len(text))), text...))
	return err
}

func readParcel(r io.Reader) (p parcel, err error) {
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return p, errParcel
	}
	n := binary.BigEndian.Uint64(size[:])
	if n > maxHeader {
		return p, errParcel
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil || json.Unmarshal(text, &p) != nil || !p.valid() {
		return p, errParcel
	}
	return p, nil
}

// opened is a file of a journal as it was at a moment.
type opened struct {
	*os.File
	name string
	size int64
}

func closeAll(files []opened) {
	for _, f := range files {
		f.Close()
	}
}

// open opens the files of the journal in a directory that count, the snapshot first, as they are at one moment. The
// directory is that of a process without rights, which may have put anything there.
func open(dir string) (files []opened, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for range 3 { // files go while a journal is rewritten
		if files, err = openIn(root); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return files, err
}

func openIn(root *os.Root) (files []opened, err error) {
	list, err := root.FS().(fs.ReadDirFS).ReadDir(".")
	if err != nil {
		return nil, err
	}
	names, err := counting(list)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	for _, name := range names {
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return files, err
		}
		files = append(files, opened{File: f, name: name})
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", name)
		}
		if err != nil {
			return files, err
		}
		files[len(files)-1].size = info.Size()
	}
	return files, nil
}

// counting returns the names of the files that count: the newest snapshot, and the segments after it.
func counting(list []fs.DirEntry) (names []string, err error) {
	snapshot, segments := uint64(0), []uint64(nil)
	for _, entry := range list {
		if !journalName.MatchString(entry.Name()) {
			continue
		}
		kind, digits, _ := strings.Cut(entry.Name(), "-")
		n, _ := strconv.ParseUint(digits, 10, 64)
		if kind == "snapshot" {
			snapshot = max(snapshot, n)
		} else {
			segments = append(segments, n)
		}
	}
	if snapshot > 0 {
		names = append(names, fmt.Sprintf("snapshot-%010d", snapshot))
	}
	slices.Sort(segments)
	next := snapshot + 1
	for _, n := range segments {
		if n <= snapshot {
			continue
		}
		if n != next {
			return nil, fs.ErrNotExist
		}
		names = append(names, fmt.Sprintf("segment-%010d", n))
		next++
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("the journal has %d files", len(names))
	}
	return names, nil
}
