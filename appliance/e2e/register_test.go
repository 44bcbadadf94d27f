package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// TestRegister holds what the cluster's state rests on: a label of a config that managers change at the
// same time, in Docker 20.10 and 26, or in that of another release, such as with CRAWLBOX_LAB_RELEASE=forky.
func TestRegister(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			var (
				hosts     []*lab.Host
				registers []swarm.Register
				join      string
			)
			for i := range 3 {
				options := []lab.HostOption{lab.Release(release)}
				if os.Getenv(lab.EnvRelease) != "" { // its Docker, without its systemd, which may be too new for a lab
					options = nil
				}
				h := l.AddHost(options...)
				if i == 0 {
					h.Docker("swarm", "init", "--advertise-addr", h.IP().String())
					join = strings.TrimSpace(h.Docker("swarm", "join-token", "--quiet", "manager"))
				} else {
					h.Docker("swarm", "join", "--advertise-addr", h.IP().String(), "--token", join,
						netip.AddrPortFrom(hosts[0].IP(), 2377).String())
				}
				e, err := swarm.Open("unix://" + h.DockerSocket())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { e.Close() })
				hosts, registers = append(hosts, h), append(registers, e.Register("crawlbox.test"))
			}
			t.Log("Docker", hosts[0].Docker("version", "--format", "{{.Server.Version}}"))
			wantStale(t, registers)
			wantStatus(t, hosts)
			wantOneEach(t, registers)
			wantOneName(t, hosts)

			// Two others have a quorum. The new leader may read what was before the last change, but not
			// change it. The last alone has no quorum.
			value, _, err := registers[1].Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			hosts[0].PowerOff()
			lab.WaitFor(t, patience, "another leader", func() error {
				have, moment, err := registers[1].Load(t.Context())
				if err != nil {
					return err
				}
				err = registers[1].Swap(t.Context(), moment, "next")
				if err == nil && have != value {
					t.Fatalf("it was changed from %q, and had been %q by then", have, value)
				}
				return err
			})
			_, moment, err := registers[1].Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			hosts[2].PowerOff()
			if err := registers[1].Swap(t.Context(), moment, "minority"); err == nil || errors.Is(err, swarm.ErrStale) {
				t.Errorf("without quorum it says %v", err)
			} else {
				t.Log("without quorum:", err)
			}
		})
	}
}

// wantStale wants a change of what was read before another change refused, whoever made that.
func wantStale(t *testing.T, registers []swarm.Register) {
	t.Helper()
	ctx := t.Context()
	if value, moment, err := registers[1].Load(ctx); value != "" || moment != "" || err != nil {
		t.Fatalf("before it is there it has %q at %q, %v", value, moment, err)
	}
	if err := registers[1].Swap(ctx, "", "a"); err != nil {
		t.Fatal(err)
	}
	if err := registers[2].Swap(ctx, "", "b"); !errors.Is(err, swarm.ErrStale) {
		t.Errorf("made twice: %v", err)
	}
	_, moment, err := registers[2].Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := registers[0].Swap(ctx, moment, "c"); err != nil {
		t.Fatal(err)
	}
	for _, r := range registers {
		if err := r.Swap(ctx, moment, "d"); !errors.Is(err, swarm.ErrStale) {
			t.Errorf("changed at a moment that is past: %v", err)
		}
		if value, _, err := r.Load(ctx); value != "c" || err != nil {
			t.Errorf("it is %q, %v", value, err)
		}
	}
}

// wantOneEach has all managers change it at the same moments: each time one may.
func wantOneEach(t *testing.T, registers []swarm.Register) {
	t.Helper()
	for n := range 30 {
		_, moment, err := registers[n%3].Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var (
			all sync.WaitGroup
			got [3]error
		)
		for i, r := range registers {
			all.Go(func() { got[i] = r.Swap(t.Context(), moment, fmt.Sprint(n, i)) })
		}
		all.Wait()
		done := 0
		for _, err := range got {
			if err == nil {
				done++
			} else if !errors.Is(err, swarm.ErrStale) {
				t.Error(err)
			}
		}
		if done != 1 {
			t.Errorf("%d of 3 changed it at one moment: %v", done, got)
		}
	}
}

// wantStatus wants Docker's own words for a version that is past, and all managers to have an event of a
// change, whoever made it.
func wantStatus(t *testing.T, hosts []*lab.Host) {
	t.Helper()
	var is struct {
		ID      string
		Version struct{ Index uint64 }
		Spec    json.RawMessage
	}
	shown := docker(t, hosts[0], http.StatusOK, "/configs/crawlbox.test", nil)
	if err := json.Unmarshal([]byte(shown), &is); err != nil {
		t.Fatal(err)
	}
	begun := time.Now().Unix()
	update := fmt.Sprintf("/configs/%s/update?version=", is.ID)
	docker(t, hosts[1], http.StatusOK, fmt.Sprint(update, is.Version.Index), is.Spec)
	for _, h := range hosts {
		said := docker(t, h, http.StatusInternalServerError, fmt.Sprint(update, is.Version.Index), is.Spec)
		contains(t, said, "update out of sequence")
		t.Log("a version that is past:", strings.TrimSpace(said))
	}
	for _, h := range hosts {
		lab.WaitFor(t, patience, "the event on "+h.Name(), func() error {
			said := docker(t, h, http.StatusOK, fmt.Sprintf("/events?since=%d&until=%d&filters=%s", begun,
				time.Now().Unix(), url.QueryEscape(`{"type":["config"],"event":["update"]}`)), nil)
			if !strings.Contains(said, is.ID) {
				return fmt.Errorf("it has %q", said)
			}
			return nil
		})
	}
}

// wantOneName has all managers make a config and a service of one name at once: one may.
func wantOneName(t *testing.T, hosts []*lab.Host) {
	t.Helper()
	for n := range 10 {
		for path, spec := range map[string]string{
			"/configs/create": `{"Name":"name%d","Data":"eA=="}`,
			"/services/create": `{"Name":"name%d","TaskTemplate":{"ContainerSpec":{"Image":"none"}},
				"Mode":{"Replicated":{"Replicas":0}}}`,
		} {
			var (
				all  sync.WaitGroup
				code [3]int
				said [3]string
			)
			for i, h := range hosts {
				all.Go(func() { code[i], said[i] = askDocker(t, h, path, fmt.Appendf(nil, spec, n)) })
			}
			all.Wait()
			made := 0
			for i := range hosts {
				switch code[i] {
				case http.StatusCreated:
					made++
				case http.StatusConflict:
				default:
					t.Errorf("%s: %d %s", path, code[i], said[i])
				}
			}
			if made != 1 {
				t.Errorf("%s: %d of 3 made one name: %v %q", path, made, code, said)
			}
			if n == 0 {
				t.Logf("%s: %v %q", path, code, said)
			}
		}
	}
}

// docker asks a host's engine past any client, and wants a status.
func docker(t testing.TB, h *lab.Host, code int, path string, body []byte) string {
	t.Helper()
	got, said := askDocker(t, h, path, body)
	if got != code {
		t.Fatalf("%s on %s: status %d, want %d: %s", path, h.Name(), got, code, said)
	}
	return said
}

func askDocker(t testing.TB, h *lab.Host, path string, body []byte) (code int, said string) {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	code, said, err := askSocket(t.Context(), h, "/run/docker.sock", method, path, body)
	if err != nil {
		t.Error(err)
	}
	return code, said
}

// askSocket asks what serves a socket on a host.
func askSocket(
	ctx context.Context, h *lab.Host, socket, method, path string, body []byte,
) (code int, said string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	client := h.HTTPClient(socket)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// versionOf returns which version of an object an engine knows.
func versionOf(t testing.TB, h *lab.Host, path string) uint64 {
	t.Helper()
	var is struct{ Version struct{ Index uint64 } }
	if err := json.Unmarshal([]byte(docker(t, h, http.StatusOK, path, nil)), &is); err != nil {
		t.Fatal(err)
	}
	return is.Version.Index
}

// askAPI asks the crawlbox on a host, and wants it done.
func askAPI(t testing.TB, h *lab.Host, method, path string, in, out any) {
	t.Helper()
	if err := tryAPI(t.Context(), h, method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

func tryAPI(ctx context.Context, h *lab.Host, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	code, said, err := askSocket(ctx, h, "/run/crawlbox.sock", method, path, body)
	switch {
	case err != nil:
		return err
	case code/100 != 2:
		return fmt.Errorf("%s %s on %s: status %d: %s", method, path, h.Name(), code, said)
	case out == nil:
		return nil
	}
	return json.Unmarshal([]byte(said), out)
}

// makeToken makes a join token that expires, and returns its ID.
func makeToken(ctx context.Context, h *lab.Host) (string, error) {
	var made api.Token
	req := api.TokenRequest{Role: fleet.RoleWorker, TTL: time.Hour}
	err := tryAPI(ctx, h, http.MethodPost, "/v1/tokens", req, &made)
	return made.ID, err
}
