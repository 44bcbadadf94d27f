package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	images "github.com/docker/docker/api/types/image"
)

// engine answers with recorded streams.
type engine struct {
	Engine
	stream  string
	refused error
	options build.ImageBuildOptions
	auth    string
}

func (e *engine) ImageBuild(_ context.Context, _ io.Reader,
	o build.ImageBuildOptions) (build.ImageBuildResponse, error) {
	e.options = o
	return build.ImageBuildResponse{Body: io.NopCloser(strings.NewReader(e.stream))}, e.refused
}

func (e *engine) ImageTag(context.Context, string, string) error { return e.refused }

func (e *engine) ImagePush(_ context.Context, _ string, o images.PushOptions) (io.ReadCloser, error) {
	e.auth = o.RegistryAuth
	return io.NopCloser(strings.NewReader(e.stream)), e.refused
}

const built = `{"stream":"Step 1/2 : FROM python:3-slim"}
{"stream":"\n"}
{"status":"Pulling from library/python","id":"3-slim"}
{"status":"Downloading","progressDetail":{"current":1,"total":9},"progress":"[>  ]","id":"aaaa"}
{"status":"Digest: sha256:1111"}
{"stream":" ---\u003e 0123456789ab\n"}
{"aux":{"ID":"sha256:stage"}}
{"stream":"Step 2/2 : RUN pip install x"}
{"stream":"\n"}
{"stream":"Collecting"}
{"stream":" x\n 10%\r 100%\r\n"}
{"stream":"\u001b[91mWARNING: root\n\u001b[0m"}
{"aux":{"ID":"sha256:final"}}
{"stream":"Successfully built 0123456789ab\n"}
{"stream":"Successfully tagged spider:1"}
`

func TestBuild_LinesAndID(t *testing.T) {
	t.Parallel()
	e := &engine{stream: built}
	var got []string
	id, err := NewBuilder(e).Build(t.Context(), nil, BuildOptions{
		Tag:            "spider:1",
		DockerfileName: "docker/D",
		Logins:         Logins{"r:5000": {Username: "ci", Password: "hush"}},
		Pull:           true,
		Builder:        Classic,
	},
		func(p Progress) { got = append(got, p.Line) })
	if err != nil || id != "sha256:final" {
		t.Fatalf("id %q, %v", id, err)
	}
	want := []string{
		"Step 1/2 : FROM python:3-slim", "3-slim: Pulling from library/python", "Digest: sha256:1111",
		" ---> 0123456789ab",
		"Step 2/2 : RUN pip install x", "Collecting x", " 100%", "WARNING: root", "Successfully built 0123456789ab",
		"Successfully tagged spider:1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got lines %q\nwant %q", got, want)
	}
	if o := e.options; o.Version != build.BuilderV1 || o.NetworkMode != "host" || !o.ForceRemove || !o.PullParent ||
		o.Tags[0] != "spider:1" || o.Dockerfile != "docker/D" || o.AuthConfigs["r:5000"].Password != "hush" {
		t.Errorf("options %+v", o)
	}
}

func TestBuild_Errors(t *testing.T) {
	t.Parallel()
	from := `{"stream":"Step 1/2 : FROM python:99\n"}`
	for name, c := range map[string]struct {
		stream, want string
		refused      error
	}{
		"a step": {
			stream: `{"stream":"Step 5/9 : RUN pip install nosuch\n"}{"stream":"ERROR: No matching distribution\n"}
{"errorDetail":{"code":1,"message":"The command '/bin/sh -c pip install nosuch' returned a non-zero code: 1"},"error":"The command '/bin/sh -c pip install nosuch' returned a non-zero code: 1"}`,
			want: "build failed at step 5/9: RUN pip install nosuch: returned a non-zero code: 1",
		},
		"no base image": {
			stream: from + `{"error":"manifest for python:99 not found: manifest unknown: manifest unknown"}`,
			want: "build failed at step 1/2: FROM python:99: there is no such base image (manifest for python:99 " +
				"not found: manifest unknown: manifest unknown); correct its name",
		},
		"no network": {
			stream: from +
				`{"error":"Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host"}`,
			want: "its registry could not be asked",
		},
		"missing file": {
			stream: `{"stream":"Step 2/2 : COPY x ./\n"}{"error":"COPY failed: file not found in build context or excluded by .dockerignore: stat x: file does not exist"}`,
			want:   "build failed at step 2/2: COPY x ./: COPY failed: file not found",
		},
		"a private base image": {
			stream: `{"stream":"Step 1/3 : FROM r.example:5443/base:1\n"}{"error":"Get \"https://r.example:5443/v2/\": no basic auth credentials"}`,
			want: "its registry wants a login (Get \"https://r.example:5443/v2/\": no basic auth credentials); run " +
				"`docker login r.example:5443` on this machine as the user who deploys, then try again",
		},
		"a private image to copy from": {
			stream: `{"stream":"Step 2/3 : COPY --from=r.example/tools:1 / /\n"}{"error":"unauthorized: authentication required"}`,
			want:   "run `docker login r.example` on this machine",
		},
		"a step for BuildKit": {
			stream: `{"stream":"Step 2/3 : RUN --mount=type=cache,target=/x true\n"}{"error":"the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/"}`,
			want:   "build without --builder classic and DOCKER_BUILDKIT=0",
		},
		"bad Dockerfile": {
			refused: cerrdefs.ErrInvalidArgument.WithMessage(
				"Error response from daemon: dockerfile parse error line 2:\n unknown instruction: RUNN"),
			want: "build failed: dockerfile parse error line 2: unknown instruction: RUNN",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewBuilder(&engine{stream: c.stream, refused: c.refused}).Build(t.Context(), nil,
				BuildOptions{DockerfileName: "Dockerfile", Builder: Classic}, func(Progress) {})
			var failed *BuildError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestTag(t *testing.T) {
	t.Parallel()
	if err := NewBuilder(&engine{}).Tag(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
	err := NewBuilder(&engine{refused: cerrdefs.ErrNotFound}).Tag(t.Context(), "a", "b")
	if !errors.Is(err, ErrNotHere) || err.Error() != "Docker has no such image here: a" {
		t.Errorf("got %v", err)
	}
}

// TestWithDockerfile has what the classic builder is given of a Dockerfile that is no file of the
// context: it takes away what .dockerignore lists.
func TestWithDockerfile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files []string
		want  map[string]string
	}{
		"alone": {
			[]string{"a", "caf\xe9"},
			map[string]string{
				"a": "a", "caf\xe9": "caf\xe9", apart: "FROM x", ignoreName: ".crawlbox.Dockerfile\n.dockerignore\n",
			},
		},
		"with a list": {
			[]string{ignoreName, "b"},
			map[string]string{"b": "b", apart: "FROM x", ignoreName: ".dockerignore\n.crawlbox.Dockerfile\n"},
		},
	} {
		var context bytes.Buffer
		tw := tar.NewWriter(&context)
		for _, file := range c.files {
			h := &tar.Header{Name: file, Typeflag: tar.TypeReg, Mode: 0o640, Size: int64(len(file))}
			if err := write(tw, h, file); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		r := withDockerfile(&context, "FROM x")
		got := map[string]string{}
		for in := tar.NewReader(r); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			text, readErr := io.ReadAll(in)
			if err := errors.Join(err, readErr); err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(text)
		}
		if r.Close(); !maps.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	r := withDockerfile(halfRead{}, "FROM x")
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of a context that breaks off: %v", err)
	}
	r = withDockerfile(halfRead{}, "FROM x") // the goroutine ends though nobody reads
	r.Close()
}

func TestBuild_KeepsTheLastLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for range 30 {
		b.WriteString(`{"stream":"line\n"}`)
	}
	b.WriteString(`{"stream":"last"}{"error":"boom"}`)
	_, err := readBuild(&b, func(string) {})
	var failed *BuildError
	if !errors.As(err, &failed) || len(failed.Output) != tailLines || failed.Output[tailLines-1] != "last" {
		t.Fatalf("got %#v", err)
	}
}

func TestBuild_LostEngine(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"", `{"stream":"Step`, "not json"} {
		id, err := readBuild(strings.NewReader(stream), func(string) {})
		var failed *BuildError
		if err == nil || id != "" || errors.As(err, &failed) {
			t.Errorf("%q: got %q, %v", stream, id, err)
		}
	}
}

func TestPush_Progress(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("ab", 32)
	stream := `{"status":"The push refers to repository [localhost:8003/spider]"}
{"status":"Preparing","progressDetail":{},"id":"a"}
{"status":"Preparing","progressDetail":{},"id":"b"}
{"status":"Waiting","progressDetail":{},"id":"b"}
{"status":"Layer already exists","progressDetail":{},"id":"b"}
{"status":"Pushing","progressDetail":{"current":512,"total":4096},"progress":"[=>  ]","id":"a"}
{"status":"Pushing","progressDetail":{"current":5120,"total":4096},"id":"a"}
{"status":"Pushed","progressDetail":{},"id":"a"}
{"status":"0.01: digest: ` + digest + ` size: 1234"}
`
	want := []PushProgress{
		{1, 0, 0, 0, 0},
		{2, 0, 0, 0, 0},
		{2, 1, 1, 0, 0},
		{2, 1, 1, 512, 4096},
		{2, 1, 1, 4096, 4096},
		{2, 1, 2, 4096, 4096},
	}
	for name, aux := range map[string]string{
		"containerd":   "",
		"graph driver": `{"progressDetail":{},"aux":{"Tag":"0.01","Digest":"` + digest + `","Size":1234}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &engine{stream: stream + aux}
			var got []PushProgress
			d, err := NewBuilder(e).Push(t.Context(), "localhost:8003/spider:0.01",
				func(p PushProgress) { got = append(got, p) })
			if err != nil || d != digest || e.auth != "e30=" {
				t.Fatalf("digest %q, auth %q, %v", d, e.auth, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// TestPush_Errors has the words of Docker 20.10.24, whose registry answered so.
func TestPush_Errors(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"dial tcp 127.0.0.1:8003: connect: connection " +
			"refused": "connection refused; nothing serves it there now; see with `crawlbox status`",
		"denied: requested access to the resource " +
			"is denied": "is denied; the registry wants other rights",
		"unauthorized: authentication " +
			"required": "authentication required; the registry wants other rights",
		"unsupported: The operation is " +
			"unsupported.": "the registry takes no pushes; see in `crawlbox config`",
		"toomanyrequests: " +
			"slow down": "slow down; the registry has too much to do; try again",
		"received unexpected HTTP status: 507 Insufficient " +
			"Storage": "507 Insufficient Storage; the registry could not keep it; look for free space",
		"received unexpected HTTP status: 500 Internal " +
			"Server Error": "500 Internal Server Error; the registry could not keep it; look for free space",
		"denied: registry disk is full: 1MB free under /x; free space or run `crawlbox " +
			"images gc`": "push r: registry disk is full: 1MB free under /x; free space or run `crawlbox images gc`",
		"error from registry: registry disk is full; free space": "push r: registry disk is full; free space",
	} {
		stream := fmt.Sprintf(`{"status":"Preparing","id":"a"}{"errorDetail":{"message":%q},"error":%q}`, said,
			said+"\n")
		_, err := NewBuilder(&engine{stream: stream}).Push(t.Context(), "r", func(PushProgress) {})
		if err == nil || !strings.HasPrefix(err.Error(), "push r: ") || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	_, err := NewBuilder(&engine{stream: `{"status":"Pushed","id":"a"}`}).Push(t.Context(), "r", func(PushProgress) {})
	if err == nil || err.Error() != "push r: the engine ended without a digest" {
		t.Errorf("got %v", err)
	}
}
