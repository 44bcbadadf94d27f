package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// ErrNoRegistry is wrapped by a Copier where the registry of an image can't be
// reached, or is not to be trusted.
var ErrNoRegistry = errors.New("can't be reached")

// RefusedError holds what the registry of an image answered where it did not give the
// image.
type RefusedError struct {
	Image    string // as people name it
	Registry string // such as docker.io
	Status   int    // of HTTP
	Said     string // in its words
}

// Temporary reports whether the same may go well later: the registry limits how often it is
// asked, or has troubles of its own.
func (e *RefusedError) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// Error returns one line, with what to do.
func (e *RefusedError) Error() string {
	advice := "check its name and tag, or docker login to it on this machine if it is private"
	switch {
	case e.Status == http.StatusTooManyRequests:
		advice = "try again later, or docker login to it on this machine, which may allow more"
	case e.Temporary():
		advice = "try again later"
	}
	return fmt.Sprintf("image %s: %s answers %s; %s", e.Image, e.Registry, e.Said, advice)
}

// answered reports whether an error is the answer of a registry.
func answered(err error) bool {
	return errors.As(err, new(*transport.Error))
}

// unanswered reports whether a registry gave no answer at all. What is neither is an answer
// that was not understood.
func unanswered(err error) bool {
	var network *url.Error
	return !answered(err) && errors.As(err, &network)
}

// refused gives an error of a copy its type. into is the cluster's registry, which
// speaks for itself.
func refused(image reference.Named, into name.Repository, err error) error {
	var said *transport.Error
	var network *url.Error
	what, registry := reference.FamiliarString(image), reference.Domain(image)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said) && said.Request != nil && said.Request.URL.Host == into.RegistryStr():
		return fmt.Errorf("keep image %s: the cluster's registry answers %s", what, answer(said))
	case errors.As(err, &said):
		return &RefusedError{Image: what, Registry: registry, Status: said.StatusCode, Said: answer(said)}
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("no answer in time")
	case errors.As(err, &network):
		err = network.Err
	}
	return fmt.Errorf("image %s: %s %w: %s", what, registry, ErrNoRegistry, words.OneLine(err.Error()))
}

// answer returns what a registry said.
func answer(e *transport.Error) string {
	var said []string
	for _, d := range e.Errors {
		said = append(said, fmt.Sprintf("%s: %s", d.Code, d.Message))
	}
	if len(said) == 0 {
		return fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	return words.OneLine(strings.Join(said, "; "))
}
