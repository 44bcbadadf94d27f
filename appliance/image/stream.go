package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// message is one of the JSON objects that the engine answers a build or a push
// with.
type message struct {
	Stream   string
	Status   string
	ID       string
	Progress struct{ Current, Total int64 } `json:"progressDetail"`
	Error    string
	Aux      json.RawMessage
}

// decode calls each for every message until the stream ends. The engine's
// failure comes as a message: it is returned as an errSaid.
func decode(r io.Reader, each func(message)) error {
	d := json.NewDecoder(r)
	for {
		var m message
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("lost the engine's answer: %w", err)
		case m.Error != "":
			return errSaid(words.OneLine(m.Error))
		}
		each(m)
	}
}

// errSaid holds what the engine said when it failed.
type errSaid string

func (e errSaid) Error() string { return string(e) }

// maxLine bounds a line of output: a program may print forever without an end
// of line.
const maxLine = 16 << 10

// lineWriter makes whole lines of the pieces in which output arrives.
type lineWriter struct {
	see  func(line string)
	rest string
}

func (w *lineWriter) write(piece string) {
	w.rest += piece
	for {
		line, rest, whole := strings.Cut(w.rest, "\n")
		if !whole {
			break
		}
		w.rest = rest
		w.emit(line)
	}
	if len(w.rest) > maxLine {
		w.flush()
	}
}

func (w *lineWriter) flush() {
	w.emit(w.rest)
	w.rest = ""
}

// escapes are colours and moves of the cursor, which the engine itself adds to
// what a program writes to stderr.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// emit drops what a terminal would have overwritten, such as a progress bar.
func (w *lineWriter) emit(line string) {
	line = strings.TrimRight(escapes.ReplaceAllString(line, ""), " \r")
	line = line[strings.LastIndex(line, "\r")+1:]
	if line != "" {
		w.see(line)
	}
}
