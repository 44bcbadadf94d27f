package lab

import (
	"context"
	"errors"
	"os"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// LoadPythonBase gives the host's Docker the image python:3.6 that PythonImage
// makes.
func (h *Host) LoadPythonBase() {
	h.lab.t.Helper()
	if err := h.feed(artifact.PythonImage(h.lab.t), "docker", "import", "-", "python:3.6"); err != nil {
		h.lab.t.Fatalf("lab: host %s: load python image: %v", h.name, err)
	}
}

// Load gives the host's Docker the images in a tar file of docker save's form.
// The file is on the machine.
func (h *Host) Load(tar string) {
	h.lab.t.Helper()
	if err := h.feed(tar, "docker", "load", "--quiet"); err != nil {
		h.lab.t.Fatalf("lab: host %s: load %s: %v", h.name, tar, err)
	}
}

// feed runs a command on the host with a file of the machine as its input.
func (h *Host) feed(path string, args ...string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	cmd := h.command(ctx, args)
	cmd.Stdin = file
	return h.run(cmd).Err()
}

// linkOrCopy makes to the same file as from, or a copy where they lie on
// different disks.
func linkOrCopy(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Link(from, to); err == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// LoadSpidersBase gives the host's Docker the image that SpidersImage makes,
// under the name spiders:lab and those that crawlbox's own Dockerfiles start
// from.
func (h *Host) LoadSpidersBase() {
	h.lab.t.Helper()
	if err := h.feed(artifact.SpidersImage(h.lab.t), "docker", "import", "-", "spiders:lab"); err != nil {
		h.lab.t.Fatalf("lab: host %s: load image for spiders: %v", h.name, err)
	}
	for _, usual := range []string{"python:3-slim", "node:lts-slim", "golang:1"} {
		h.Docker("tag", "spiders:lab", usual)
	}
}
