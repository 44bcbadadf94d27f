// Package notify tells systemd how this process is, by the protocol of
// sd_notify(3): what it is about, that it serves, that it stops, and that it is
// alive. Where systemd does not run this process, all of it does nothing.
//
// RELOADING is not said: the config file is watched and taken up beside all else,
// nobody asks for it and nobody waits for it.
package notify

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Listening reports whether systemd, or another program that speaks its protocol, runs
// this process and listens.
func Listening() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// startExtension is how long systemd waits for a start that has just said what it is about.
const startExtension = 5 * time.Minute

// started is set once systemd waits for no start.
var started atomic.Bool

// Phase says what the process is about, in a few words; `systemctl status` shows them. A start that says so goes on,
// and is given TimeoutStartSec= of the unit anew: one that waits says it again and again.
func Phase(text string) {
	state := "STATUS=" + words.OneLine(text)
	if !started.Load() {
		state += fmt.Sprintf("\nEXTEND_TIMEOUT_USEC=%d", startExtension.Microseconds())
	}
	send(state)
}

// Ready says that the process serves.
func Ready(text string) {
	started.Store(true)
	send(daemon.SdNotifyReady + "\nSTATUS=" + words.OneLine(text))
}

// Stopping says that the process ends.
func Stopping() {
	started.Store(true)
	send(daemon.SdNotifyStopping + "\nSTATUS=stopping")
}

// send ignores errors: nothing that a node does depends on who looks at it.
func send(state string) { _, _ = daemon.SdNotify(false, state) }
