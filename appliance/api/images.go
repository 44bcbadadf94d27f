package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
)

// Images answers for the images of the cluster's registry.
type Images interface {
	Images(ctx context.Context, nodes bool) ([]fleet.Image, error)
	RemoveImage(ctx context.Context, ref string, force bool) error
	CollectImages(ctx context.Context) (GCReport, error)
}

func ImagesArea(i Images) Area {
	return Area{
		"GET /v1/images": List(answered(query(flag, "nodes"), i.Images)),
		"DELETE /v1/images": Action(func(r *http.Request) error {
			ref, err := needed(r, "ref")
			if err != nil {
				return err
			}
			force, err := flag(r, "force")
			if err != nil {
				return err
			}
			return i.RemoveImage(r.Context(), ref, force)
		}),
		"POST /v1/images/gc": Value(plain(i.CollectImages)),
	}
}

// GCReport says what a collection of unused images freed.
type GCReport struct {
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`

	// Held is the size in bytes of what nothing needs but a push under way may
	// count on; it can be freed from HeldUntil on.
	Held      int64     `json:"held"`
	HeldUntil time.Time `json:"held_until,omitzero"`
}

// Images returns the tags of the registry, and where nodes is set also on how many
// nodes each is, for which all of them are asked.
func (c *Client) Images(ctx context.Context, nodes bool) (v []fleet.Image, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/images?nodes="+strconv.FormatBool(nodes), nil, &v)
}

// RemoveImage removes a tag, such as spider:0.01, and one that a service runs only if it is forced to.
func (c *Client) RemoveImage(ctx context.Context, ref string, force bool) error {
	return c.call(ctx, http.MethodDelete,
		"/v1/images?ref="+url.QueryEscape(ref)+"&force="+strconv.FormatBool(force), nil, nil)
}

// CollectImages frees what no tag and no service needs.
func (c *Client) CollectImages(ctx context.Context) (v GCReport, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/images/gc", nil, &v)
}

// Builds make images of source code, and bring images of this machine into the cluster's registry.
type Builds interface {
	Build(ctx context.Context, req BuildRequest, files io.Reader, fn func(BuildEvent) error) error
	Push(ctx context.Context, req PushRequest, fn func(BuildEvent) error) error
}

func BuildsArea(b Builds) Area {
	return Area{
		"POST /v1/build": Events(buildLag, func(r *http.Request, send func(BuildEvent) error) error {
			q, files, err := readBuild(r.Body)
			if err != nil {
				return err
			}
			note(r, slog.String("repository", q.Repository), slog.String("tag", q.Tag))
			if err := checkBuild(q); err != nil {
				return err
			}
			return b.Build(r.Context(), q, files, send)
		}),
		"POST /v1/push": Events(buildLag, asked(pushRequest, b.Push)),
	}
}

// PushRequest names an image that Docker has on this machine, and what it is called in the
// cluster's registry.
type PushRequest struct {
	Image      string `json:"image"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"` // empty: the next of those there are
}

func pushRequest(r *http.Request) (q PushRequest, err error) {
	if err := body(r, &q); err != nil {
		return q, err
	}
	note(r, slog.String("image", q.Image), slog.String("repository", q.Repository), slog.String("tag", q.Tag))
	if q.Image == "" || q.Repository == "" {
		return q, Invalid("a push needs an image and the name of its repository")
	}
	return q, nil
}

// BuildRequest says what is to be built of the files that come with it, and under
// what name it goes into the cluster's registry.
type BuildRequest struct {
	Repository string `json:"repository"`    // such as spider
	Tag        string `json:"tag,omitempty"` // empty: the next of those there are, from 0.01 on
	Dockerfile []byte `json:"dockerfile"`    // text, be it UTF-8 or not
	// of the Dockerfile among the files; empty: it is none of them
	DockerfileName string            `json:"dockerfile_name,omitempty"`
	Args           map[string]string `json:"args,omitempty"`   // of ARG
	Logins         image.Logins      `json:"logins,omitempty"` // of the user, for base images
	Secrets        Secrets           `json:"secrets,omitempty"`
	Target         string            `json:"target,omitempty"`   // stage to stop at
	Platform       string            `json:"platform,omitempty"` // such as linux/arm64
	Builder        string            `json:"builder,omitempty"`  // image.BuildKit, image.Classic or image.Auto
	NoCache        bool              `json:"no_cache,omitempty"`
	Pull           bool              `json:"pull,omitempty"`
}

// Secrets holds the files that the steps of one build may read, by id. They print as
// their number.
type Secrets map[string][]byte

// String hides the secrets.
func (s Secrets) String() string { return fmt.Sprintf("%d hidden", len(s)) }

func (s Secrets) GoString() string { return s.String() }

func (s Secrets) LogValue() slog.Value { return slog.StringValue(s.String()) }

// BuildEvent is one step of a build. Exactly one field is set.
type BuildEvent struct {
	Line  string              `json:"line,omitempty"`  // what the classic builder says
	Step  *image.Step         `json:"step,omitempty"`  // what BuildKit says of one of its steps
	Push  *image.PushProgress `json:"push,omitempty"`  // how much of the image is in the registry
	Image string              `json:"image,omitempty"` // the end: the image with tag and digest
}

// Build builds an image of a build context, which is a tar, and pushes it into the
// registry of the cluster. It calls fn with each step.
//
// The request goes before the tar, as one line of JSON: in the address it would get
// into logs, and a secret can be larger than what headers may have.
func (c *Client) Build(ctx context.Context, req BuildRequest, files io.Reader, fn func(BuildEvent) error) error {
	line, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	body := io.MultiReader(bytes.NewReader(append(line, '\n')), files)
	return stream(ctx, c, http.MethodPost, "/v1/build", body, fn)
}

// Push brings an image that Docker has here into the registry of the cluster. It calls fn with
// each step.
func (c *Client) Push(ctx context.Context, req PushRequest, fn func(BuildEvent) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/push", req, fn)
}

// readBuild takes the request from the head of a body. The rest are the files.
func readBuild(body io.Reader) (q BuildRequest, files io.Reader, err error) {
	head := &io.LimitedReader{R: body, N: MaxBody}
	in := bufio.NewReader(head)
	line, err := in.ReadBytes('\n')
	switch {
	case head.N == 0:
		return q, nil, Invalid("the request has more than %d bytes before its files", MaxBody)
	case err != nil && !errors.Is(err, io.EOF):
		return q, nil, Invalid("cannot read the request: %v", err)
	}
	if err := bound.Strict(bytes.NewReader(line), MaxBody, &q); err != nil {
		return q, nil, unreadable(err)
	}
	head.N = math.MaxInt64
	return q, in, nil
}

func checkBuild(q BuildRequest) error {
	if q.Repository == "" || len(q.Dockerfile) == 0 {
		return Invalid("a build needs the name of its repository, and a Dockerfile")
	}
	if q.Builder != image.Auto && q.Builder != image.BuildKit && q.Builder != image.Classic {
		return Invalid("the builder is %q; it must be %s or %s", q.Builder, image.BuildKit, image.Classic)
	}
	return nil
}
