package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	controlapi "github.com/moby/buildkit/api/services/control"
	workertypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/upload"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// kitEngine is an engine whose BuildKit takes the context and a secret as the real
// one does, and says what it is told to.
type kitEngine struct {
	engine
	controlapi.UnimplementedControlServer
	version  build.BuilderVersion
	sessions *session.Manager
	net      *bufconn.Listener
	ended    chan struct{}

	news  []*controlapi.StatusResponse
	fails error

	req        *controlapi.SolveRequest
	files      bytes.Buffer
	dockerfile string
	secret     []byte
	logins     []string // for r:5000, Docker Hub and a registry without one
	pruned     []*controlapi.PruneRequest
	policy     []*workertypes.GCPolicy
}

func newKitEngine(t *testing.T) *kitEngine {
	t.Helper()
	sessions, err := session.NewManager()
	if err != nil {
		t.Fatal(err)
	}
	e := &kitEngine{sessions: sessions, net: bufconn.Listen(1 << 20), ended: make(chan struct{})}
	srv := grpc.NewServer()
	controlapi.RegisterControlServer(srv, e)
	go srv.Serve(e.net)
	t.Cleanup(srv.Stop)
	return e
}

func (e *kitEngine) Ping(context.Context) (types.Ping, error) {
	return types.Ping{BuilderVersion: e.version}, nil
}

func (e *kitEngine) DialHijack(ctx context.Context, path, proto string, _ map[string][]string) (net.Conn, error) {
	if path != "/grpc" || proto != "h2c" {
		return nil, fmt.Errorf("unable to upgrade to %s, received 404", proto)
	}
	return e.net.DialContext(ctx)
}

func (e *kitEngine) ListWorkers(context.Context,
	*controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: []*workertypes.WorkerRecord{{GCPolicy: e.policy}}}, nil
}

func (e *kitEngine) Prune(req *controlapi.PruneRequest, out controlapi.Control_PruneServer) error {
	e.pruned = append(e.pruned, req)
	return out.Send(&controlapi.UsageRecord{ID: "old"})
}

func (e *kitEngine) Session(stream controlapi.Control_SessionServer) error {
	conn, closed, opts := grpchijack.Hijack(stream)
	defer conn.Close()
	ctx, cancel := context.WithCancel(stream.Context())
	go func() {
		<-closed
		cancel()
	}()
	return e.sessions.HandleConn(ctx, conn, opts)
}

func (e *kitEngine) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	defer close(e.ended)
	e.req = req
	client, err := e.sessions.Get(ctx, req.Session, false)
	if err != nil {
		return nil, err
	}
	first := func(input string) *pb.Op {
		op := &pb.Op{}
		if err == nil {
			err = op.UnmarshalVT(req.FrontendInputs[input].Def[0])
		}
		return op
	}
	text, files := first("dockerfile"), first("context")
	if err != nil {
		return nil, err
	}
	e.dockerfile = string(text.GetFile().Actions[0].GetMkfile().Data)
	for _, host := range []string{"r:5000", "registry-1.docker.io", "other"} {
		l, err := auth.NewAuthClient(client.Conn()).Credentials(ctx, &auth.CredentialsRequest{Host: host})
		if err != nil {
			return nil, err
		}
		e.logins = append(e.logins, l.Username+":"+l.Secret)
	}
	where, err := url.Parse(files.GetSource().Identifier)
	if err != nil {
		return nil, err
	}
	up, err := upload.New(ctx, client, where)
	if err != nil {
		return nil, err
	}
	if _, err := up.WriteTo(&e.files); err != nil {
		return nil, err
	}
	if e.secret, err = secrets.GetSecret(ctx, client, "token"); err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return nil, err
	}
	return &controlapi.SolveResponse{ExporterResponse: map[string]string{"containerimage.digest": "sha256:built"}},
		e.fails
}

func (e *kitEngine) Status(_ *controlapi.StatusRequest, out controlapi.Control_StatusServer) error {
	<-e.ended
	for _, n := range e.news {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

var day = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

// vertex returns a step that began at a second and ended at another; -1 is not yet.
func vertex(name string, began, ended int, said string) *controlapi.Vertex {
	v := &controlapi.Vertex{Digest: name, Name: name, Error: said}
	if began >= 0 {
		v.Started = timestamppb.New(day.Add(time.Duration(began) * time.Second))
	}
	if ended >= 0 {
		v.Completed = timestamppb.New(day.Add(time.Duration(ended) * time.Second))
	}
	return v
}

func vertexes(list ...*controlapi.Vertex) *controlapi.StatusResponse {
	return &controlapi.StatusResponse{Vertexes: list}
}

func logged(name, text string) *controlapi.StatusResponse {
	return &controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Vertex: name, Msg: []byte(text)}}}
}

func TestBuildKit_SecretsAndLoginsGoOverTheSession(t *testing.T) {
	t.Parallel()
	e := newKitEngine(t)
	files := strings.Repeat("tar", 1<<18)
	o := BuildOptions{
		Tag:            "localhost:8003/spider:1",
		Dockerfile:     "FROM x",
		DockerfileName: "docker/prod",
		Args:           map[string]string{"A": "b=c"},
		Logins:         Logins{"r:5000": {Username: "ci", Password: "hush"}, DockerHub: {IdentityToken: "hush"}},
		Secrets:        map[string][]byte{"token": []byte("hush")},
		Target:         "run",
		Platform:       "linux/arm64",
		NoCache:        true,
		Pull:           true,
	}
	id, err := NewBuilder(e).Build(t.Context(), strings.NewReader(files), o, func(Progress) {})
	if err != nil || id != "sha256:built" {
		t.Fatalf("id %q, %v", id, err)
	}
	if e.files.String() != files || string(e.secret) != "hush" {
		t.Errorf("got %d bytes of files, the secret %q", e.files.Len(), e.secret)
	}
	if want := []string{"ci:hush", ":hush", ":"}; e.dockerfile != "FROM x" || !slices.Equal(e.logins, want) {
		t.Errorf("got the Dockerfile %q, the logins %q", e.dockerfile, e.logins)
	}
	asked := e.req.String()
	for _, want := range []string{
		"dockerfile.v0", "moby", "localhost:8003/spider:1", "b=c", "network.host", "linux/arm64", "no-cache", "pull",
	} {
		if !strings.Contains(asked, want) {
			t.Errorf("no %q in %s", want, asked)
		}
	}
	if strings.Contains(asked, "hush") {
		t.Errorf("the request has the secret: %s", asked)
	}
}

func TestBuildKit_Steps(t *testing.T) {
	t.Parallel()
	e := newKitEngine(t)
	run, cached := "[2/3] RUN pip install redis", vertex("[3/3] COPY . .", 5, 5, "")
	cached.Cached = true
	e.news = []*controlapi.StatusResponse{
		vertexes(vertex("[internal] load remote build context", 0, 1, ""), vertex("copy /context /", 1, 1, ""),
			vertex("[1/3] FROM x", 1, -1, ""), vertex(run, -1, -1, "")),
		{Statuses: []*controlapi.VertexStatus{
			{ID: "a", Vertex: "[1/3] FROM x", Current: 5, Total: 9},
			{ID: "b", Vertex: "[1/3] FROM x", Current: 1, Total: 1},
		}},
		vertexes(vertex("[1/3] FROM x", 1, 2, ""), vertex(run, 2, -1, "")),
		{Statuses: []*controlapi.VertexStatus{{ID: "a", Vertex: "[1/3] FROM x", Current: 9, Total: 9}}}, // too late
		logged(run, "Collecting"), logged(run, " redis\n 10%\r 100%\r\nno end of line"),
		vertexes(vertex(run, 2, 5, "")), vertexes(vertex(run, 2, 5, ""), cached),
	}
	var got []Step
	if _, err := NewBuilder(e).Build(t.Context(), strings.NewReader(""), BuildOptions{},
		func(p Progress) { got = append(got, *p.Step) }); err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{N: 1, Name: "[1/3] FROM x", State: StepRunning},
		{N: 1, Name: "[1/3] FROM x", State: StepRunning, Current: 5, Total: 9},
		{N: 1, Name: "[1/3] FROM x", State: StepRunning, Current: 6, Total: 10},
		{N: 1, Name: "[1/3] FROM x", State: StepDone, Took: time.Second},
		{N: 2, Name: run, State: StepRunning},
		{N: 2, Name: run, State: StepRunning, Line: "Collecting redis"},
		{N: 2, Name: run, State: StepRunning, Line: " 100%"},
		{N: 2, Name: run, State: StepRunning, Line: "no end of line"},
		{N: 2, Name: run, State: StepDone, Took: 3 * time.Second},
		{N: 3, Name: "[3/3] COPY . .", State: StepCached},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// TestBuildKit_Errors has the words of Docker 20.10.24 and those of newer ones.
func TestBuildKit_Errors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ step, said, whole, want string }{
		"a step": {"[2/3] RUN pip install nosuch",
			"executor failed running [/bin/sh -c pip install nosuch]: exit code: 7", "",
			"build failed at step 2/3: RUN pip install nosuch: returned a non-zero code: 7"},
		"a step of a stage": {"[build 2/3] RUN make",
			`process "/bin/sh -c make" did not complete successfully: exit code: 2`, "",
			"build failed at step 2/3 of build: RUN make: returned a non-zero code: 2"},
		"a step of the last stage": {"[stage-1 2/3] RUN make",
			`process "/bin/sh -c make" did not complete successfully: exit code: 2`, "",
			"build failed at step 2/3: RUN make: returned a non-zero code: 2"},
		"no base image": {"[internal] load metadata for docker.io/library/python:99",
			"docker.io/library/python:99: not found", "",
			"build failed at FROM python:99: there is no such base image (docker.io/library/python:99: not found); " +
				"correct its name"},
		"no network": {"[internal] load metadata for docker.io/library/nowhere:1",
			`failed to do request: Head "https://registry-1.docker.io/v2/": dial tcp: no such host`, "",
			"build failed at FROM nowhere:1: its registry could not be asked ("},
		"missing file": {
			"[2/2] COPY x y/ ./", `"/x" not found: not found`, "",
			"build failed at step 2/2: COPY x y/ ./: x is not among the files; see that the directory has it",
		},
		"missing file later": {
			"[2/2] COPY x ./", `failed to calculate checksum of ref a::b: "/x": not found`, "",
			"COPY x ./: x is not among the files",
		},
		"missing secret": {
			"[2/2] RUN --mount=type=secret,id=tok,required cat", "secret tok not found: not found", "",
			"there is no build secret tok; give it with --secret id=tok,src=FILE",
		},
		"a private base image": {"[internal] load metadata for 10.9.9.3:5443/base:1",
			"unexpected status from HEAD request to https://10.9.9.3:5443/v2/base/manifests/1: 401 Unauthorized", "",
			"build failed at FROM 10.9.9.3:5443/base:1: its registry wants a login (unexpected status from HEAD " +
				"request to https://10.9.9.3:5443/v2/base/manifests/1: 401 Unauthorized); run `docker login " +
				"10.9.9.3:5443` on this machine as the user who deploys"},
		"a private base image of Docker Hub": {"[internal] load metadata for docker.io/me/base:1",
			"pull access denied, repository does not exist or may require authorization: server message: " +
				"insufficient_scope: authorization failed", "", "run `docker login` on this machine"},
		"too many pulls": {"[internal] load metadata for docker.io/library/python:3",
			"toomanyrequests: You have reached your unauthenticated pull rate limit", "",
			"its registry limits how much is pulled ("},
		"a CA that Docker does not know": {"[internal] load metadata for r.example:5000/base:1",
			`failed to do request: Head "https://r.example:5000/v2/": x509: certificate signed by unknown authority`, "",
			"put the registry's CA into /etc/docker/certs.d/r.example:5000/ca.crt, and restart Docker"},
		"syntax": {"resolve image config for docker-image://docker.io/docker/dockerfile:1",
			`failed to do request: Head "https://registry-1.docker.io/v2/": dial tcp: no such host`, "",
			"build failed at # syntax = docker/dockerfile:1: what reads the Dockerfile could not be fetched ("},
		"an SSH agent": {"[2/2] RUN --mount=type=ssh,required git clone",
			`no SSH key "default" forwarded from the client`, "", "it wants an SSH agent, which crawlbox gives no build"},
		"bad Dockerfile": {"", "", "failed to solve with frontend dockerfile.v0: failed to create LLB definition: " +
			"dockerfile parse error line 2: unknown instruction: RUNN",
			"build failed: dockerfile parse error line 2: unknown instruction: RUNN"},
		"no Dockerfile": {"", "", "failed to solve with frontend dockerfile.v0: failed to read dockerfile: open " +
			"/var/lib/docker/tmp/buildkit-mount2110785183/prod: no such file or directory",
			"build failed: open prod: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newKitEngine(t)
			e.fails = status.Error(codes.Unknown, c.whole)
			if c.step != "" {
				e.fails = status.Error(codes.Unknown, "failed to solve: "+c.said)
				e.news = []*controlapi.StatusResponse{vertexes(vertex(c.step, 0, -1, "")),
					logged(c.step, "last word\n"),
					vertexes(vertex("[other 1/2] RUN y", 0, 1, "context canceled"), vertex(c.step, 0, 1, c.said))}
			}
			_, err := NewBuilder(e).Build(t.Context(), strings.NewReader(""), BuildOptions{}, func(Progress) {})
			var failed *BuildError
			if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), "build failed") ||
				!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			if c.step != "" && !slices.Equal(failed.Output, []string{"last word"}) {
				t.Errorf("output %q", failed.Output)
			}
		})
	}
}

func TestBuilder_ClassicWhereBuildKitIsNot(t *testing.T) {
	t.Parallel()
	secret := map[string][]byte{"token": []byte("hush")}
	for name, c := range map[string]struct {
		version build.BuilderVersion
		refuses bool // the upgrade
		o       BuildOptions
		says    string // empty: the classic builder builds
	}{
		"turned off":    {version: build.BuilderV1},
		"not there":     {refuses: true},
		"not asked for": {o: BuildOptions{Builder: Classic}},
		"asked for and not there": {
			refuses: true,
			o:       BuildOptions{Builder: BuildKit},
			says:    "the build wants BuildKit, which is not to be had here: the Docker Engine has none (",
		},
		"secrets with it off": {
			version: build.BuilderV1,
			o:       BuildOptions{Secrets: secret},
			says:    `build secrets need BuildKit, which is not to be had here: the Docker Engine builds with its classic builder ("buildkit": false`,
		},
		"secrets without it": {
			refuses: true,
			o:       BuildOptions{Secrets: secret},
			says:    "build secrets need BuildKit, which is not to be had here: the Docker Engine has none (",
		},
		"secrets and classic": {
			o:    BuildOptions{Secrets: secret, Builder: Classic},
			says: "build secrets need BuildKit, which is not to be had here: the classic builder was asked for",
		},
		"turned off and wanted all the same": {
			version: build.BuilderV1,
			o:       BuildOptions{Builder: BuildKit},
			says:    "kit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newKitEngine(t)
			e.version, e.stream = c.version, built
			if c.refuses {
				e.net.Close()
			}
			id, err := NewBuilder(e).Build(t.Context(), strings.NewReader(""), c.o, func(Progress) {})
			switch {
			case c.says == "" && (err != nil || id != "sha256:final"):
				t.Errorf("got %q, %v", id, err)
			case c.says == "kit" && (err != nil || id != "sha256:built"):
				t.Errorf("got %q, %v", id, err)
			case c.says != "" && c.says != "kit" &&
				(!errors.Is(err, ErrNoBuildKit) || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
}

// halfRead is a context that its sender broke off.
type halfRead struct{}

func (halfRead) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBuildKit_BrokenContext(t *testing.T) {
	t.Parallel()
	e := newKitEngine(t)
	if _, err := NewBuilder(e).Build(t.Context(), halfRead{}, BuildOptions{}, func(Progress) {}); err == nil ||
		!strings.Contains(err.Error(), io.ErrUnexpectedEOF.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestBuildKit_CallerGoes(t *testing.T) {
	t.Parallel()
	e := newKitEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe() // a context that never comes
	defer w.Close()
	go func() {
		_, _ = w.Write([]byte("x")) // is read: the build is under way
		cancel()
	}()
	if _, err := NewBuilder(e).Build(ctx, r, BuildOptions{}, func(Progress) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestBuildKit_KeepsTheCacheSmall where the engine does not do so itself.
func TestBuildKit_KeepsTheCacheSmall(t *testing.T) {
	t.Parallel()
	for policies, want := range map[int]int{0: 1, 3: 0} {
		e := newKitEngine(t)
		e.policy = make([]*workertypes.GCPolicy, policies)
		for i := range e.policy {
			e.policy[i] = &workertypes.GCPolicy{All: true}
		}
		if _, err := NewBuilder(e).Build(t.Context(), strings.NewReader(""), BuildOptions{},
			func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		if len(e.pruned) != want || want == 1 && (!e.pruned[0].All || e.pruned[0].ReservedSpace != cacheKept) {
			t.Errorf("%d policies: pruned %v", policies, e.pruned)
		}
	}
}
