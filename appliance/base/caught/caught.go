// Package caught turns a panic in something that a program was asked for into an error: the
// rest of the program goes on. It is here so that all doors of a node, those of its own users and
// those of other nodes, say the same of it.
package caught

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// ErrInternal is what Run returns of a panic, for people.
var ErrInternal = errors.New("internal error; see journalctl -u crawlbox")

// Run returns the error of run, and ErrInternal where it panics: what is in the log then, with
// its stack, names call. http.ErrAbortHandler is no fault, and goes on.
func Run(log *slog.Logger, call string, run func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		//lint:ignore errorlint net/http compares what is recovered the same way
		if p == http.ErrAbortHandler {
			panic(p)
		}
		log.Error("a call panicked", "call", call, "panic", p, "stack", string(debug.Stack()))
		err = ErrInternal
	}()
	return run()
}
