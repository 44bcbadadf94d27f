package image

import (
	"fmt"
	"regexp"
	"strings"
)

// tailLines is how much output of a failed build is kept: enough for the
// traceback of a setup.py.
const tailLines = 20

// BuildError is a build that the engine refused or that a step of it failed.
type BuildError struct {
	Step    string   // such as 5/9; empty before the first
	Command string   // of that step
	Message string   // what the engine said, in one line
	Output  []string // the last lines of output, with those of the step
}

func (e *BuildError) keep(line string) {
	e.Output = append(e.Output, line)
	if len(e.Output) > tailLines {
		e.Output = e.Output[1:]
	}
}

// Error is one line: the step, and what was wrong with it.
func (e *BuildError) Error() string {
	if e.Step == "" {
		return "build failed: " + e.Message
	}
	return fmt.Sprintf("build failed at step %s: %s: %s", e.Step, short(e.Command), e.reason())
}

var (
	exitCode   = regexp.MustCompile(`^The command '.*' (returned a non-zero code: \d+)`)
	notThere   = regexp.MustCompile(`(?i)not found|does not exist|manifest unknown|no such image|access denied`)
	noRegistry = regexp.MustCompile(`(?i)dial tcp|no such host|timeout|deadline exceeded|connection re|toomanyrequests`)
)

// reason is the message without the command, which the error names already,
// and for a base image what to do.
func (e *BuildError) reason() string {
	words := strings.Fields(e.Command)
	fromImage := len(words) > 1 && strings.EqualFold(words[0], "FROM")
	switch m := exitCode.FindStringSubmatch(e.Message); {
	case m != nil:
		return m[1]
	case fromImage && notThere.MatchString(e.Message):
		return "there is no such base image (" + e.Message + "); correct its name or tag in the Dockerfile, or, if it is private, docker pull it on this machine first"
	case fromImage && noRegistry.MatchString(e.Message):
		return "its registry could not be asked (" + e.Message + "); try again, or bring the image to this machine with docker load"
	}
	return e.Message
}

// short cuts a command that would fill the screen.
func short(command string) string {
	const most = 80
	r := []rune(oneLine(command))
	if len(r) <= most {
		return string(r)
	}
	return string(r[:most]) + "…"
}
