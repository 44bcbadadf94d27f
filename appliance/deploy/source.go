package deploy

import (
	"context"
	"fmt"
	"time"
)

// StageCopy is what comes before the first stage of a deploy whose image is another
// registry's: it is copied into the cluster's.
const StageCopy = "copy"

// Source is another registry that an image is from.
type Source struct {
	Registry string // such as docker.io
	Note     string // what the user should know of it; empty: nothing
	// Copy brings the image into the cluster's registry and tells how many bytes have
	// come of all that have to; nil: it is there, or does not come there.
	Copy func(ctx context.Context, see func(bytes, total int64)) error
}

// bring has the image in the cluster's registry when it returns without an error. A
// nil Source has nothing to do.
func (s *Source) bring(ctx context.Context, emit Emit) error {
	s.Tell(emit)
	if s == nil || s.Copy == nil {
		return nil
	}
	var last time.Time
	return s.Copy(ctx, func(bytes, total int64) {
		if now := time.Now(); now.Sub(last) >= stageEmit || bytes == total {
			last = now
			emit(StageCopy, Progress{From: s.Registry, Bytes: bytes, Total: total})
		}
	})
}

// Tell tells what the user should know, if there is something.
func (s *Source) Tell(emit Emit) {
	if s != nil && s.Note != "" {
		emit(StageCopy, Progress{From: s.Registry, LastErr: s.Note})
	}
}

// copies says whether the image is to be copied.
func (s *Source) copies() bool { return s != nil && s.Copy != nil }

// steps are what is done before the stages, in words.
func (s *Source) steps(image string) (steps []string) {
	if s != nil && s.Note != "" {
		steps = append(steps, "note: "+s.Note)
	}
	if s.copies() {
		steps = append(steps, fmt.Sprintf("copy: %s from %s into the cluster's registry", shortImage(image), s.Registry))
	}
	return steps
}
