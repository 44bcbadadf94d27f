package image

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/crawlbox/crawlbox/appliance/base/words"
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

// Error returns one line: the step, and what was wrong with it.
func (e *BuildError) Error() string {
	switch {
	case e.Command == "":
		return "build failed: " + e.reason()
	case e.Step == "":
		return fmt.Sprintf("build failed at %s: %s", shorten(e.Command), e.reason())
	}
	return fmt.Sprintf("build failed at step %s: %s: %s", e.Step, shorten(e.Command), e.reason())
}

var (
	exitCode = regexp.MustCompile(
		`^The command '.*' returned a non-zero code: (\d+)|^(?:executor failed running|process) .* exit code: (\d+)`)
	notCopied     = regexp.MustCompile(`"/([^"]+)":? not found`)
	noHostNetwork = regexp.MustCompile(`network\.host is not allowed`)
	noSecret      = regexp.MustCompile(`^secret (\S+?):? not found`)
	noAgent       = regexp.MustCompile(`(?i)no SSH key .* forwarded|unset ssh forward`)
	notClassic    = regexp.MustCompile(`requires BuildKit`)
	wantsLogin    = regexp.MustCompile(
		`(?i)\b40[13]\b|unauthorized|no basic auth credentials|incorrect username or password`)
	noTrust    = regexp.MustCompile(`x509: `)
	notThere   = regexp.MustCompile(`(?i)not found|does not exist|manifest unknown|no such image|access denied`)
	tooMany    = regexp.MustCompile(`(?i)toomanyrequests|\b429\b`)
	noRegistry = regexp.MustCompile(`(?i)dial tcp|no such host|timeout|deadline exceeded|connection re`)
)

// reason returns the message without the command, which the error names already,
// and for a base image what to do.
func (e *BuildError) reason() string {
	is := func(instruction string) bool {
		first, _, more := strings.Cut(e.Command, " ")
		return more && strings.EqualFold(first, instruction)
	}
	from := imageOf(e.Command)
	switch m := exitCode.FindStringSubmatch(e.Message); {
	case m != nil:
		return "returned a non-zero code: " + m[1] + m[2]
	case (is("COPY") || is("ADD")) && notCopied.MatchString(e.Message):
		return notCopied.FindStringSubmatch(
			e.Message)[1] + " is not among the files; see that the directory has it, and that .dockerignore does not " +
			"list it"
	case noHostNetwork.MatchString(e.Message):
		return "the Docker Engine lets no build into the host's network; allow network-host in builder.entitlements " +
			"of its daemon.json, or give --builder classic"
	case noSecret.MatchString(e.Message):
		id := noSecret.FindStringSubmatch(e.Message)[1]
		return "there is no build secret " + id + "; give it with --secret id=" + id + ",src=FILE"
	case noAgent.MatchString(e.Message):
		return "it wants an SSH agent, which crawlbox gives no build; give the key as a --secret, or build with " +
			"`docker build --ssh` and give the image to `crawlbox push`"
	case notClassic.MatchString(e.Message):
		return e.Message + "; build without --builder classic and DOCKER_BUILDKIT=0"
	case from == "":
		return e.Message
	case wantsLogin.MatchString(e.Message):
		return "its registry wants a login (" + e.Message + "); run `" + loginTo(from) + "` on this machine as the " +
			"user who deploys, then try again"
	case noTrust.MatchString(e.Message):
		return "Docker does not trust its registry (" + e.Message + "); put the registry's CA into " +
			"/etc/docker/certs.d/" +
			registryOf(from) + "/ca.crt, and restart Docker if that alone does not help"
	case strings.HasPrefix(e.Command, "#") && (notThere.MatchString(e.Message) || noRegistry.MatchString(e.Message)):
		return "what reads the Dockerfile could not be fetched (" + e.Message + "); take that line out, which newer " +
			"Docker Engines do not need, or bring the image to this machine with docker load"
	case notThere.MatchString(e.Message):
		return "there is no such base image (" + e.Message + "); correct its name or tag in the Dockerfile, or, if " +
			"it is private, run `" + loginTo(from) + "` on this machine as the user who deploys"
	case tooMany.MatchString(e.Message):
		return "its registry limits how much is pulled (" + e.Message + "); run `" + loginTo(from) + "` on this " +
			"machine as the user who deploys, or wait"
	case noRegistry.MatchString(e.Message):
		return "its registry could not be asked (" + e.Message +
			"); try again, or bring the image to this machine with docker load"
	}
	return e.Message
}

// fetched matches commands that fetch an image, which they name.
var fetched = regexp.MustCompile(`(?i)^(?:FROM(?: +--\S+)*|COPY .*?--from=|# syntax =) *(\S+)`)

// imageOf returns the image that a command fetches, empty for one that fetches none.
func imageOf(command string) string {
	m := fetched.FindStringSubmatch(command)
	if m == nil {
		return ""
	}
	return m[1]
}

// loginTo returns the command that logs in to the registry of an image.
func loginTo(image string) string {
	if registry := registryOf(image); registry != "docker.io" {
		return "docker login " + registry
	}
	return "docker login"
}

func registryOf(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "docker.io"
	}
	return reference.Domain(ref)
}

// shorten cuts a command that would fill the screen.
func shorten(command string) string {
	const most = 80
	r := []rune(words.OneLine(command))
	if len(r) <= most {
		return string(r)
	}
	return string(r[:most]) + "…"
}

var (
	stepName = regexp.MustCompile(`^\[(?:stage-\d+ |(\S+) )?(\d+/\d+)\] (.*)`)
	metadata = regexp.MustCompile(`^\[internal\] load metadata for (\S+)`)
	syntax   = regexp.MustCompile(`^resolve image config for (?:docker-image://)?(\S+)`)
	// solving matches what BuildKit's layers put before the cause of a failure.
	solving = regexp.MustCompile(
		`^((rpc error: code = \w+ desc =|failed to solve( with frontend \S+)?:|failed to (build LLB|create LLB definition|prepare context|read dockerfile):) )+`)
	// mounts matches where BuildKit has the context: to the user a path begins after it.
	mounts = regexp.MustCompile(`\S*/buildkit-mount\d+/`)
)

// failure is a build that BuildKit ended with the words said.
func (t *tracker) failure(said string) *BuildError {
	e := &BuildError{Message: words.OneLine(said)}
	if s := t.failed; s != nil {
		e.Message, e.Command, e.Output = words.OneLine(s.err), s.Name, s.output
		if m := stepName.FindStringSubmatch(s.Name); m != nil {
			e.Step, e.Command = m[2], m[3]
			if m[1] != "" {
				e.Step += " of " + m[1]
			}
		}
		if m := metadata.FindStringSubmatch(s.Name); m != nil {
			e.Command = "FROM " + familiar(m[1])
		}
		if m := syntax.FindStringSubmatch(s.Name); m != nil {
			e.Command = "# syntax = " + familiar(m[1])
		}
	}
	e.Message = mounts.ReplaceAllString(solving.ReplaceAllString(e.Message, ""), "")
	return e
}

// familiar returns the name of an image as people write it.
func familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}
