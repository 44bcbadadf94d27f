package image

import (
	"regexp"

	"github.com/distribution/reference"
)

var (
	stepName = regexp.MustCompile(`^\[(?:stage-\d+ |(\S+) )?(\d+/\d+)\] (.*)`)
	metadata = regexp.MustCompile(`^\[internal\] load metadata for (\S+)`)
	// solving matches what BuildKit's layers put before the cause of a failure.
	solving = regexp.MustCompile(`^((rpc error: code = \w+ desc =|failed to solve( with frontend \S+)?:|failed to (build LLB|create LLB definition|prepare context|read dockerfile):) )+`)
	// mounts matches where BuildKit has the context: to the user a path begins after it.
	mounts = regexp.MustCompile(`\S*/buildkit-mount\d+/`)
)

// failure is a build that BuildKit ended with the words said.
func (t *tracker) failure(said string) *BuildError {
	e := &BuildError{Message: oneLine(said)}
	if s := t.failed; s != nil {
		e.Message, e.Command, e.Output = oneLine(s.err), s.Name, s.output
		if m := stepName.FindStringSubmatch(s.Name); m != nil {
			e.Step, e.Command = m[2], m[3]
			if m[1] != "" {
				e.Step += " of " + m[1]
			}
		}
		if m := metadata.FindStringSubmatch(s.Name); m != nil {
			e.Command = "FROM " + familiar(m[1])
		}
	}
	e.Message = mounts.ReplaceAllString(solving.ReplaceAllString(e.Message, ""), "")
	return e
}

// familiar is the name of an image as people write it.
func familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}
