package registry

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
	for _, ref := range append(m.blobs(), m.Manifests...) {
		if err := ref.Digest.Validate(); err != nil {
			return m, err
		}
	}
	return m, nil
}

// blobs are the config and the layers.
func (m manifest) blobs() []ocispec.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]ocispec.Descriptor{*m.Config}, m.Layers...)
}

// load reads the manifest of d.
func (l layout) load(d digest.Digest) (manifest, error) {
	if err := d.Validate(); err != nil {
		return manifest{}, err
	}
	raw, err := l.readBlob(d)
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return manifest{}, errors.Join(errBadManifest, err)
	}
	return m, nil
}

// errBadManifest marks a manifest that is there but cannot be understood.
var errBadManifest = errors.New("the manifest is damaged")
