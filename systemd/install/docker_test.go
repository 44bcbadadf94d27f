package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// lines returns what a dry run prints of a plan.
func lines(p Plan) (list []string) {
	for _, s := range p.Steps {
		list = append(list, fmt.Sprint(s))
	}
	return list
}

const aptText = "env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o " +
	"DPkg::Options::=--force-confold "

func TestPlanDocker(t *testing.T) {
	t.Parallel()
	bookworm := DockerTarget{
		ID:       "debian",
		Version:  "12",
		Codename: "bookworm",
		Name:     "Debian GNU/Linux 12 (bookworm)",
		Arch:     "amd64",
		Key:      "KEY",
	}
	own := []string{aptText + "update", aptText + "install docker-ce docker-ce-cli containerd.io docker-buildx-plugin"}
	written := append([]string{
		"write /etc/apt/keyrings/docker.asc, mode 0644", "write /etc/apt/sources.list.d/docker.list, mode 0644",
	}, own...)
	distribution := []string{aptText + "update", aptText + "install docker.io ca-certificates"}
	for name, tt := range map[string]struct {
		change func(*DockerTarget)
		steps  []string
		says   string // in the note or, where there are no steps, in the error
	}{
		"its own repository": {func(*DockerTarget) {}, written, "its own repository"},
		"one that apt knows": {func(b *DockerTarget) { b.Listed, b.Key = true, "" }, own, "its own repository"},
		"no Internet":        {func(b *DockerTarget) { b.Key = "" }, distribution, "can't be reached"},
		"Debian 13 alone": {func(b *DockerTarget) { b.Version, b.Codename, b.Key = "13", "trixie", "" },
			[]string{aptText + "update", aptText + "install docker.io ca-certificates docker-cli"}, ""},
		"containerd is here": {func(b *DockerTarget) {
			b.Rivals = []string{"containerd", "runc"}
		}, distribution, "push out containerd and runc"},
		"Debian 11": {func(b *DockerTarget) { b.Version, b.Codename = "11", "bullseye" }, written, ""},
		"Debian 13": {func(b *DockerTarget) { b.Version, b.Codename = "13", "trixie" }, written, ""},
		"Ubuntu 20.04": {func(b *DockerTarget) {
			b.ID, b.Version, b.Codename = "ubuntu", "20.04", "focal"
		}, written, ""},
		"Ubuntu 26.04": {func(b *DockerTarget) {
			b.ID, b.Version, b.Codename = "ubuntu", "26.04", "resolute"
		}, written, ""},
		"Ubuntu 18.04": {func(b *DockerTarget) {
			b.ID, b.Version, b.Name = "ubuntu", "18.04", "Ubuntu 18.04.6 LTS"
		}, nil, "and this is Ubuntu 18.04.6 LTS; install Docker 20.10 or newer"},
		"Debian 10": {func(b *DockerTarget) { b.Version = "10" }, nil, "knows Debian 11 to 13"},
		"Debian testing": {func(b *DockerTarget) {
			b.Version, b.Name = "", "Debian GNU/Linux forky/sid"
		}, nil, "this is Debian GNU/Linux forky/sid"},
		"Fedora": {func(b *DockerTarget) {
			b.ID, b.Version, b.Name = "fedora", "42", "Fedora Linux 42"
		}, nil, "this is Fedora Linux 42"},
		"nothing known": {func(b *DockerTarget) { *b = DockerTarget{} }, nil, "a system without /etc/os-release"},
		"a Docker": {func(b *DockerTarget) {
			b.Docker = "/usr/bin/dockerd"
		}, nil, "there is a Docker on this machine (/usr/bin/dockerd), which does not answer; start it"},
		"podman-docker": {func(b *DockerTarget) {
			b.Rivals = []string{"podman-docker"}
		}, nil, "apt-get remove podman-docker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bookworm
			tt.change(&b)
			p, err := PlanDocker(b)
			if got := lines(p); !slices.Equal(got, tt.steps) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.steps, "\n"))
			}
			if (err != nil) != (tt.steps == nil) ||
				!strings.Contains(strings.Join(p.Notes, "")+fmt.Sprint(err), tt.says) {
				t.Errorf("says %q, %v; want %q", p.Notes, err, tt.says)
			}
		})
	}
}

func TestPlanDocker_SignedBy(t *testing.T) {
	t.Parallel()
	p, err := PlanDocker(DockerTarget{ID: "ubuntu", Version: "24.04", Codename: "noble", Arch: "arm64", Key: "KEY"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		Write{"/etc/apt/keyrings/docker.asc", "KEY", 0o644},
		Write{
			"/etc/apt/sources.list.d/docker.list",
			"deb [arch=arm64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/ubuntu noble " +
				"stable\n", 0o644,
		},
	}
	if !slices.Equal(p.Steps[:2:2], want) {
		t.Errorf("got %q", p.Steps[:2])
	}
}

// The systems as their os-release says it.
const (
	bookwormRelease = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian " +
		"GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n"
	nobleRelease = "PRETTY_NAME=\"Ubuntu 24.04.2 " +
		"LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"
)

func TestLookDocker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files    map[string]string
		packages []string
		answers  map[string]string
		want     DockerTarget
	}{
		"no Internet": {
			files: map[string]string{"/etc/os-release": bookwormRelease},
			want: DockerTarget{
				ID:       "debian",
				Version:  "12",
				Codename: "bookworm",
				Name:     "Debian GNU/Linux 12 (bookworm)",
				Arch:     "amd64",
			},
		},
		"a key that is another's": {
			files: map[string]string{"/etc/os-release": nobleRelease},
			answers: map[string]string{
				"https://download.docker.com/linux/ubuntu/dists/noble/Release": "Suite: noble",
				"https://download.docker.com/linux/ubuntu/gpg":                 key(t),
			},
			want: DockerTarget{
				ID:       "ubuntu",
				Version:  "24.04",
				Codename: "noble",
				Name:     "Ubuntu 24.04.2 LTS",
				Arch:     "amd64",
			},
		},
		"packages in the way": {
			files:    map[string]string{"/etc/os-release": nobleRelease},
			packages: []string{"containerd"},
			want: DockerTarget{
				ID:       "ubuntu",
				Version:  "24.04",
				Codename: "noble",
				Name:     "Ubuntu 24.04.2 LTS",
				Arch:     "amd64",
				Rivals:   []string{"containerd"},
			},
		},
		"a source that is there": {
			files: map[string]string{
				"/etc/os-release": nobleRelease,
				"/etc/apt/sources.list.d/docker.sources": "Types: deb\nURIs: " +
					"https://download.docker.com/linux/ubuntu\n",
			},
			want: DockerTarget{
				ID:       "ubuntu",
				Version:  "24.04",
				Codename: "noble",
				Name:     "Ubuntu 24.04.2 LTS",
				Arch:     "amd64",
				Listed:   true,
			},
		},
		"a Docker": {
			files: map[string]string{"/etc/os-release": bookwormRelease, "/usr/bin/dockerd": ""},
			want: DockerTarget{
				ID:       "debian",
				Version:  "12",
				Codename: "bookworm",
				Name:     "Debian GNU/Linux 12 (bookworm)",
				Docker:   "/usr/bin/dockerd",
			},
		},
		"no os-release": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			for path, text := range tt.files {
				b.put(path, text, 0o644)
			}
			b.Command = func(_ context.Context, argv ...string) (string, error) {
				switch {
				case argv[0] == "dpkg":
					return "amd64\n", nil
				case slices.Contains(tt.packages, argv[len(argv)-1]):
					return "installed", nil
				}
				return "", errors.New("no packages found")
			}
			b.Fetch = func(_ context.Context, url string) (string, error) {
				if text, ok := tt.answers[url]; ok {
					return text, nil
				}
				return "", errors.New("no route to host")
			}
			got, err := b.LookDocker(t.Context())
			if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

// key returns one that gpg has made.
func key(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/key.asc")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	if got := fingerprint(key(t)); got != "ee87a239dd7a8016325142fb413ea54d705a90af" { // what gpg says
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{
		"", "-----BEGIN PGP PUBLIC KEY BLOCK-----",
		"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----",
		strings.ReplaceAll(key(t), "\n", "!\n"),
	} {
		if got := fingerprint(bad); got != "" {
			t.Errorf("%.40q has the fingerprint %s", bad, got)
		}
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENBA==\n-----END PGP PUBLIC KEY BLOCK-----")
	f.Fuzz(func(_ *testing.T, text string) { fingerprint(text) })
}
