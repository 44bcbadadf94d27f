package artifact

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// valkeyUser is that of the image valkey/valkey.
const valkeyUser = 999

// ValkeyImage returns a tar file for docker load with an image that stands in for valkey/valkey where no public
// registry can be reached: this machine's valkey-server, or its redis-server under that name, and what that needs.
func ValkeyImage(t frame.TB, ref string) string {
	t.Helper()
	return valkeyOf(t, ref, func(_ string, program []byte) []byte { return program })
}

// OldValkeyImage is ValkeyImage with a program that says to be of version 6.
func OldValkeyImage(t frame.TB, ref string) string {
	t.Helper()
	return valkeyOf(t, ref, func(version string, program []byte) []byte {
		return bytes.ReplaceAll(program, []byte(version), []byte("6"+version[1:]))
	})
}

// valkeyOf makes an image with a program that edit makes of the one here, which says to be of a version.
func valkeyOf(t frame.TB, ref string, edit func(version string, program []byte) []byte) string {
	t.Helper()
	path, err := valkeyImage(t, ref, edit)
	if err != nil {
		t.Fatalf("lab: valkey image: %v", err)
	}
	return path
}

func valkeyImage(t frame.TB, ref string, edit func(version string, program []byte) []byte) (string, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	program, err := exec.LookPath("valkey-server")
	if err != nil {
		if program, err = exec.LookPath("redis-server"); err != nil {
			return "", fmt.Errorf("%w: run .ci/deps", err)
		}
	}
	files, err := withLibraries(program)
	if err != nil {
		return "", err
	}
	said, err := exec.Command(program, "--version").Output()
	version := versionIn.FindSubmatch(said)
	if err != nil || version == nil {
		return "", fmt.Errorf("%s does not say its version: %q, %w", program, said, err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	data := &tar.Header{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o755, Uid: valkeyUser, Gid: valkeyUser}
	if err := w.WriteHeader(data); err != nil {
		return "", err
	}
	for to, from := range files {
		content, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if from == program {
			content = edit(string(version[1]), content)
		}
		if err := w.WriteHeader(&tar.Header{Name: to, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return "", err
		}
		if _, err := w.Write(content); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	config := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{
		Env: []string{"PATH=/usr/local/bin"},
		Cmd: []string{"valkey-server"},
	}}
	is, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	config.RootFS = is.RootFS
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return "", err
	}
	dir, err := frame.Scratch(t)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "valkey.tar")
	return path, tarball.WriteToFile(path, tag, img)
}

var versionIn = regexp.MustCompile(` v=([0-9.]+)`)

var library = regexp.MustCompile(`(/[^ ]+) \(0x`)

// withLibraries returns where the files of a program are to be, and where they are here.
func withLibraries(program string) (map[string]string, error) {
	files := map[string]string{"usr/local/bin/valkey-server": program}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("look up the libraries of %s: %w", program, err)
	}
	for _, found := range library.FindAllSubmatch(out, -1) {
		files[string(found[1][1:])] = string(found[1])
	}
	return files, nil
}
