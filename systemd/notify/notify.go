// Package notify tells systemd how this process is, by the protocol of
// sd_notify(3): what it is about, that it serves, that it stops, and that it is
// alive. Where systemd does not run this process, all of it does nothing.
//
// RELOADING is not said: the config file is watched and taken up beside all else,
// nobody asks for it and nobody waits for it.
package notify

import (
	"os"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Listening reports whether systemd, or another program that speaks its protocol, runs
// this process and listens.
func Listening() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Phase says what the process is about, in a few words; `systemctl status` shows
// them.
func Phase(text string) { send("STATUS=" + words.OneLine(text)) }

// Ready says that the process serves.
func Ready(text string) { send(daemon.SdNotifyReady + "\nSTATUS=" + words.OneLine(text)) }

// Stopping says that the process ends.
func Stopping() { send(daemon.SdNotifyStopping + "\nSTATUS=stopping") }

// send ignores errors: nothing that a node does depends on who looks at it.
func send(state string) { _, _ = daemon.SdNotify(false, state) }
