// Package doctor looks at a machine before and while it is a node. Each check says
// what is so, and where that is not as it should be, what to do.
//
// The checks of a start, which must pass before crawlbox changes anything, return an
// error of one line. They are few, and never wrong. `crawlbox doctor` makes all of
// them, and others that may only warn: each turns what was seen into a [Finding].
// What is seen of the machine comes through [System], so that the checks can be shown
// other machines than this one.
package doctor

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Level says how bad a finding is.
type Level string

const (
	OK   Level = "ok"
	Note Level = "note" // it is as somebody may well want it
	Warn Level = "warning"
	Bad  Level = "bad" // it would stop a join, or keep a node from being of use
)

// Finding holds what one check has found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Remedy and Commands are what to do about it, empty where it is ok. The commands
	// are run on this machine, as root, in their order.
	Remedy   string   `json:"remedy,omitempty"`
	Commands []string `json:"commands,omitempty"`
	// Skew is by how much the clock of another node differs; 0: it is about something else.
	Skew time.Duration `json:"-"`
}

// Report is the whole of an examination.
type Report struct {
	Node     string    `json:"node"` // host name
	Role     string    `json:"role"` // that it was looked at for
	OK       bool      `json:"ok"`   // nothing is bad
	Findings []Finding `json:"findings"`
}

// NewReport makes a report of findings, in the order in which they were made.
func NewReport(node, role string, findings []Finding) Report {
	bad := slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Bad })
	return Report{Node: node, Role: role, OK: !bad, Findings: findings}
}

// Failed makes a finding of an error of one line: what is wrong, and behind the first
// semicolon what to do.
func Failed(check string, level Level, err error) Finding {
	text, remedy, _ := strings.Cut(words.OneLine(err.Error()), "; ")
	return Finding{Check: check, Level: level, Text: text, Remedy: remedy}
}

// wrong returns a finding of something, and what to do about it.
func wrong(check string, level Level, text, remedy string, commands ...string) Finding {
	return Finding{Check: check, Level: level, Text: text, Remedy: remedy, Commands: commands}
}

func good(check, text string) Finding { return Finding{Check: check, Level: OK, Text: text} }

// orGood returns the findings or, where there are none, that all is well.
func orGood(list []Finding, check, text string) []Finding {
	if len(list) == 0 {
		return []Finding{good(check, text)}
	}
	return list
}

// Root checks that the process may set up a machine.
func Root() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return errors.New("crawlbox sets up Docker and needs root; run it with sudo")
}
