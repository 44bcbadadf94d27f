package artifact

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// PythonImage returns a tar file for docker import: Debian with Python, pip and
// redis-py, on which pip install redis finds nothing left to do. It stands in
// for python:3.6 where no public registry can be reached. The first use on a
// machine takes half a minute.
func PythonImage(t frame.TB) string {
	t.Helper()
	path, err := debian(t, "python",
		"--include=python3,python3-pip,python3-redis",
		// The marker forbids pip to install for all users.
		`--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED`,
		// Python 3.6 takes PYTHONUNBUFFERED=0, as the walkthrough has it, for
		// yes; later ones take it for no.
		`--customize-hook=echo 'import os, sys; "PYTHONUNBUFFERED" in os.environ and sys.stdout.reconfigure(line_buffering=True)' >"$1"/usr/lib/python3/dist-packages/unbuffered.pth`)
	if err != nil {
		t.Fatalf("lab: python image: %v", err)
	}
	return path
}

// TinyImage returns a tar file for docker load with one image of the given
// reference, such as "tiny:0.01": a static program that says the reference,
// waits and ends at SIGTERM; see testdata/spiders/tiny. It takes about 2 MB, for
// scenarios with hundreds of containers. padding bytes of noise, which don't
// compress, make it as large as is wanted.
func TinyImage(t frame.TB, ref string, padding int64, options ...ImageOption) string {
	t.Helper()
	path, err := tinyImage(t, ref, padding, options)
	if err != nil {
		t.Fatalf("lab: tiny image: %v", err)
	}
	return path
}

// TinyProgram returns the static program that TinyImage has.
func TinyProgram(t frame.TB) string {
	t.Helper()
	path, err := buildOnce("tiny", "testdata/spiders/tiny")
	if err != nil {
		t.Fatalf("lab: tiny program: %v", err)
	}
	return path
}

// ImageOption changes what TinyImage makes.
type ImageOption func(*v1.ConfigFile)

// Architecture says what the image is for, as images name it. The program in it is
// for this machine all the same.
func Architecture(arch string) ImageOption {
	return func(c *v1.ConfigFile) { c.Architecture = arch }
}

// HealthCheck lets the program check its own health that often; two failures in a
// row are too many. One that is slow has not failed: the machine may be busy.
func HealthCheck(interval time.Duration) ImageOption {
	return func(c *v1.ConfigFile) {
		c.Config.Healthcheck = &v1.HealthConfig{
			Test:     []string{"CMD", "/tiny", "health"},
			Interval: interval,
			Timeout:  30 * time.Second,
			Retries:  2,
		}
	}
}

func tinyImage(t frame.TB, ref string, padding int64, options []ImageOption) (string, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	program, err := buildOnce("tiny", "testdata/spiders/tiny")
	if err != nil {
		return "", err
	}
	var layers []v1.Layer
	if padding > 0 {
		noise, err := noiseLayer("noise", padding)
		if err != nil {
			return "", err
		}
		layers = append(layers, noise)
	}
	img, err := imageOf(program, ref, options, layers...)
	if err != nil {
		return "", err
	}
	dir, err := frame.Scratch(t)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "image.tar")
	return path, tarball.WriteToFile(path, tag, img)
}

// Versions returns tar files for docker load with one version each of the tiny
// image, as large as a usual spider: 42 MB in four layers, of which the last, of
// 10 MB, is another one in each version.
func Versions(t frame.TB, refs ...string) []string {
	t.Helper()
	paths, err := versions(t, refs)
	if err != nil {
		t.Fatalf("lab: versions of an image: %v", err)
	}
	return paths
}

func versions(t frame.TB, refs []string) (paths []string, err error) {
	program, err := buildOnce("tiny", "testdata/spiders/tiny")
	if err != nil {
		return nil, err
	}
	dir, err := frame.Scratch(t)
	if err != nil {
		return nil, err
	}
	below := make([]v1.Layer, 2)
	for i := range below {
		if below[i], err = noiseLayer(fmt.Sprintf("below%d", i), 15e6); err != nil {
			return nil, err
		}
	}
	for i, ref := range refs {
		tag, err := name.NewTag(ref)
		if err != nil {
			return nil, err
		}
		own, err := noiseLayer("own", 10e6)
		if err != nil {
			return nil, err
		}
		img, err := imageOf(program, ref, nil, append(below[:len(below):len(below)], own)...)
		if err != nil {
			return nil, err
		}
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%d.tar", i)))
		if err := tarball.WriteToFile(paths[i], tag, img); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// noiseLayer returns one file of noise, which does not compress.
func noiseLayer(name string, size int64) (v1.Layer, error) {
	noise := make([]byte, size)
	if _, err := io.ReadFull(rand.Reader, noise); err != nil {
		return nil, err
	}
	return layerOf(name, 0o644, noise)
}

// imageOf makes an image that runs one static program, with layers above it.
func imageOf(program, ref string, options []ImageOption, above ...v1.Layer) (v1.Image, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	layer, err := layerOf("tiny", 0o755, content)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, append([]v1.Layer{layer}, above...)...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint = []string{"/tiny"}
	file.Config.Env = []string{"IMAGE=" + ref}
	for _, change := range options {
		change(file)
	}
	return mutate.ConfigFile(img, file)
}

func layerOf(name string, mode int64, content []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		return nil, fmt.Errorf("make layer of %s: %w", name, err)
	}
	return layer, nil
}
