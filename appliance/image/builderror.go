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
	Step    string   // such as 5/9, or 2/3 of build where stages have names; empty before the first
	Command string   // of that step
	Message string   // what the engine said, in one line
	Output  []string // the last lines of output, with those of the step
}

func (e *BuildError) keep(line string) { e.Output = lastLines(append(e.Output, line)) }

func lastLines(lines []string) []string { return lines[max(0, len(lines)-tailLines):] }

// Error is one line: the step, and what was wrong with it.
func (e *BuildError) Error() string {
	switch {
	case e.Command == "":
		return "build failed: " + e.reason()
	case e.Step == "":
		return fmt.Sprintf("build failed at %s: %s", short(e.Command), e.reason())
	}
	return fmt.Sprintf("build failed at step %s: %s: %s", e.Step, short(e.Command), e.reason())
}

var (
	exitCode      = regexp.MustCompile(`^The command '.*' returned a non-zero code: (\d+)|^(?:executor failed running|process) .* exit code: (\d+)`)
	notCopied     = regexp.MustCompile(`"/([^"]+)":? not found`)
	noHostNetwork = regexp.MustCompile(`network\.host is not allowed`)
	noSecret      = regexp.MustCompile(`^secret (\S+?):? not found`)
	notThere      = regexp.MustCompile(`(?i)not found|does not exist|manifest unknown|no such image|access denied`)
	noRegistry    = regexp.MustCompile(`(?i)dial tcp|no such host|timeout|deadline exceeded|connection re|toomanyrequests`)
)

// reason is the message without the command, which the error names already,
// and for a base image what to do.
func (e *BuildError) reason() string {
	words := strings.Fields(e.Command)
	is := func(instruction string) bool { return len(words) > 1 && strings.EqualFold(words[0], instruction) }
	fromImage := is("FROM")
	switch m := exitCode.FindStringSubmatch(e.Message); {
	case m != nil:
		return "returned a non-zero code: " + m[1] + m[2]
	case (is("COPY") || is("ADD")) && notCopied.MatchString(e.Message):
		return notCopied.FindStringSubmatch(e.Message)[1] + " is not among the files; see that the folder has it, and that .dockerignore does not list it"
	case noHostNetwork.MatchString(e.Message):
		return "the Docker Engine lets no build into the host's network; allow network-host in builder.entitlements of its daemon.json, or give --builder classic"
	case noSecret.MatchString(e.Message):
		id := noSecret.FindStringSubmatch(e.Message)[1]
		return "there is no build secret " + id + "; give it with --secret id=" + id + ",src=FILE"
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
