package queueproc

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// Descriptors that the process inherits, beside the standard ones.
const (
	controlFD   = 3
	directoryFD = 4
	listenerFD  = 5 // the first; the others follow, then the socket for connections, see dials, and that for questions
)

// maxLine bounds a message of either side, in bytes.
const maxLine = 64 << 10

// order holds what the manager tells the process, one a line. The first has settings,
// further ones a certificate, another engine, or the nodes that are up.
type order struct {
	Settings *settings `json:"settings,omitempty"`
	TLS      *KeyPair  `json:"tls,omitempty"`
	Engine   *Engine   `json:"engine,omitempty"`
	Up       []string  `json:"up,omitempty"`
}

// settings holds what the process does not find out by itself. They do not go by its
// arguments or environment, which all users of the machine can read.
type settings struct {
	Password  string `json:"password"`
	MaxMemory int64  `json:"max_memory"`
	Listeners int    `json:"listeners"`
	// Engine is the server that clients get to; nil: the embedded one.
	Engine *Engine `json:"engine,omitempty"`
	Leases *Leases `json:"leases,omitempty"`
	UID    int     `json:"uid"`
	GID    int     `json:"gid"`
	// Whole ends the process where an essential step of the sandbox fails: the manager
	// tries with other namespaces.
	Whole bool `json:"whole"`
}

// Engine is a server that speaks Redis and keeps the items, or a front of one.
type Engine struct {
	Name string `json:"name"` // for people, without user and password
	Addr string `json:"addr"` // host:port
	Host string `json:"host"` // that its certificate has to be for; empty: no TLS
	// CA is who signs its certificate, in PEM; empty: those that this machine trusts, which have to be known at the
	// start of the process.
	CA string `json:"ca,omitempty"`
	// Certificate and Key are shown to it, in PEM; empty: it wants none.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"private_key,omitempty"`
	User        string `json:"user"`
	Password    string `json:"password"`
	DB          int    `json:"db"`
	// Front is set where it may be another front, beside the engine: that leaves the commands of this one as they are.
	Front bool `json:"front,omitempty"`
	// Setting is the key of the config that says where it is and how to log in; empty: crawlbox runs it.
	Setting string `json:"setting,omitempty"`
	// Epoch tells engines at one address apart: another one is another engine, whose connections are new.
	Epoch uint64 `json:"epoch,omitempty"`
}

// advice returns what people read where it can't be used, who runs it being the one that can do something.
func (e Engine) advice() front.Advice {
	switch {
	case e.Front:
		return front.Advice{
			Away:    "start that server, or crawlbox on it",
			Refused: "it has another since, which this node hears of within seconds",
		}
	case e.Setting != "":
		return front.Advice{
			Away:    "start it, or correct its address in " + e.Setting + " and start crawlbox again",
			Login:   "in " + e.Setting,
			Refused: "correct " + e.Setting + " and start crawlbox again",
		}
	}
	return front.Advice{
		Away:    "crawlbox runs it, and starts it or another in its place; `crawlbox status` says how it is",
		Refused: "crawlbox runs it, and corrects that by itself; `crawlbox status` says how it is",
	}
}

// KeyPair is a certificate, with those that it was signed by, and its key, in PEM.
type KeyPair struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

// report holds what the process says, one a line. The process may be in the hands of an
// attacker: all of it is bounded, and shown to people at most.
type report struct {
	Confined *confined       `json:"confined,omitempty"`
	Ready    bool            `json:"ready,omitempty"`
	Progress *queue.Progress `json:"progress,omitempty"`
	Engine   string          `json:"engine,omitempty"` // with Progress: why the engine can't be used
	Log      json.RawMessage `json:"log,omitempty"`    // a line of slog's JSON
	Failed   *failure        `json:"failed,omitempty"`
}

// confined says which steps of the sandbox were not possible.
type confined struct {
	Missing []sandbox.Missing `json:"missing"`
}

// failure says why the process ends.
type failure struct {
	Text    string                `json:"text"`
	Corrupt *journal.CorruptError `json:"corrupt,omitempty"`
}

func newFailure(err error) *failure {
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Corrupt)
	return f
}

// error returns the failure with the paths that a person sees, outside the process's root.
func (f failure) error(dir string) error {
	if c := f.Corrupt; c != nil {
		return &journal.CorruptError{
			File:   filepath.Join(dir, filepath.Base(filepath.Join("/", printable(c.File)))),
			Offset: c.Offset,
			Reason: printable(c.Reason),
		}
	}
	return errors.New(printable(f.Text) + "; the files are those in " + dir)
}

// printable bounds a text of the process, and takes from it what a terminal would obey.
func printable(text string) string {
	const most = 1000
	if len(text) > most {
		text = text[:most] + " …"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
}

// lineWriter writes messages, from several goroutines.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) write(message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(line) >= maxLine {
		return errors.New("message is too long")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.w.Write(append(line, '\n'))
	return err
}

// readLines passes on each message until r ends or has something else, and then closes to.
func readLines[T any](r io.Reader, to chan<- T) {
	defer close(to)
	for lines := bound.NewStream(r, maxLine); ; {
		var message T
		if lines.Next(&message) != nil {
			return
		}
		to <- message
	}
}
