package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/image"
)

// BuildRequest says what is to be built of the files that come with it, and under
// what name it goes into the cluster's registry.
type BuildRequest struct {
	Repository string             // such as spider
	Tag        string             // empty: the next of those there are, from 0.01 on
	Dockerfile string             // its name among the files
	Args       map[string]*string // of ARG
	Target     string             // stage to stop at
	Platform   string             // such as linux/arm64
	NoCache    bool
	Pull       bool
}

// BuildEvent is one step of a build. Exactly one field is set.
type BuildEvent struct {
	Line  string              `json:"line,omitempty"`  // what the builder says
	Push  *image.PushProgress `json:"push,omitempty"`  // how much of the image is in the registry
	Image string              `json:"image,omitempty"` // the end: the image with tag and digest
}

// Build builds an image of a build context, which is a tar, and pushes it into the
// registry of the cluster. It calls fn with each step.
func (c *Client) Build(ctx context.Context, req BuildRequest, files io.Reader, fn func(BuildEvent) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/build?"+req.values().Encode(), files, fn)
}

func (q BuildRequest) values() url.Values {
	v := url.Values{"repository": {q.Repository}, "tag": {q.Tag}, "dockerfile": {q.Dockerfile}, "target": {q.Target}, "platform": {q.Platform},
		"no_cache": {strconv.FormatBool(q.NoCache)}, "pull": {strconv.FormatBool(q.Pull)}}
	for name, value := range q.Args {
		if value != nil {
			name += "=" + *value
		}
		v.Add("arg", name)
	}
	return v
}

func (h *handler) build(r *http.Request, out *lines[BuildEvent]) (err error) {
	v := r.URL.Query()
	q := BuildRequest{Repository: v.Get("repository"), Tag: v.Get("tag"), Dockerfile: v.Get("dockerfile"), Target: v.Get("target"), Platform: v.Get("platform"),
		Args: map[string]*string{}}
	note(r, slog.String("repository", q.Repository), slog.String("tag", q.Tag))
	if q.Repository == "" {
		return invalid("a build needs the name of its repository")
	}
	if q.NoCache, err = flag(r, "no_cache"); err != nil {
		return err
	}
	if q.Pull, err = flag(r, "pull"); err != nil {
		return err
	}
	for _, arg := range v["arg"] {
		name, value, given := strings.Cut(arg, "=")
		q.Args[name] = nil
		if given {
			q.Args[name] = &value
		}
	}
	return h.b.Build(r.Context(), q, r.Body, out.write)
}
