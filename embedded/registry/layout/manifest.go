package layout

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifest is what image manifests and indexes, of Docker and of OCI, have in
// common: what they refer to.
type manifest struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

func parseManifest(raw []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, err
	}
	for _, ref := range append(m.Blobs(), m.Manifests...) {
		if err := ref.Digest.Validate(); err != nil {
			return m, err
		}
	}
	return m, nil
}

// Blobs are the config and the layers.
func (m manifest) Blobs() []ocispec.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]ocispec.Descriptor{*m.Config}, m.Layers...)
}

// LoadManifest reads the manifest of d.
func (l Layout) LoadManifest(d digest.Digest) (manifest, error) {
	if err := d.Validate(); err != nil {
		return manifest{}, err
	}
	raw, err := l.ReadBlob(d)
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return manifest{}, errors.Join(ErrBadManifest, err)
	}
	return m, nil
}

// ErrBadManifest marks a manifest that is there but cannot be understood.
var ErrBadManifest = errors.New("the manifest is damaged")
