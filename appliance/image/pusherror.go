package image

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// pushAdvice is what to do about a push that a registry refused. The registry of
// crawlbox says that itself, with the code DENIED, where it has a reason to refuse.
var pushAdvice = []struct {
	said *regexp.Regexp
	do   string
}{
	{regexp.MustCompile(`dial tcp|connection re|EOF$`), "nothing serves it there now; see with `crawlbox status` whether the registry runs, then try again"},
	{regexp.MustCompile(`^(denied|unauthorized)|no basic auth credentials|status: 40[13]`), "the registry wants other rights than this node has; see in `crawlbox config` that registry.port is crawlbox's own, and in its log why"},
	{regexp.MustCompile(`^unsupported|read.?only|status: 405`), "the registry takes no pushes; see in `crawlbox config` that registry.port is crawlbox's own"},
	{regexp.MustCompile(`^toomanyrequests|status: 429`), "the registry has too much to do; try again in a minute"},
	{regexp.MustCompile(`(?i)no space left|status: 5\d\d|^unknown|timeout`), "the registry could not keep it; look for free space with df on the manager and for the cause in crawlbox's log, then try again"},
}

// pushFailed is the error of a push in one line, with what to do.
func pushFailed(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("push %s: %w", ref, ctx.Err())
	}
	var said errSaid
	if errors.As(err, &said) && strings.Contains(err.Error(), "; ") {
		text := strings.TrimPrefix(string(said), "denied: ")
		text = strings.TrimPrefix(text, "error from registry: ") // of engines that keep images in containerd
		return fmt.Errorf("push %s: %s", ref, text)
	}
	for _, a := range pushAdvice {
		if a.said.MatchString(err.Error()) {
			return fmt.Errorf("push %s: %w; %s", ref, err, a.do)
		}
	}
	return fmt.Errorf("push %s: %w", ref, err)
}
