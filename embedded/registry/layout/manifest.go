package layout

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest holds what image manifests and indexes, of Docker and of OCI, have in
// common: what they refer to.
type Manifest struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

func ParseManifest(raw []byte) (Manifest, error) {
	var m Manifest
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

func (m Manifest) Blobs() []ocispec.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]ocispec.Descriptor{*m.Config}, m.Layers...)
}

func (l Layout) LoadManifest(d digest.Digest) (Manifest, error) {
	if err := d.Validate(); err != nil {
		return Manifest{}, err
	}
	raw, err := l.ReadBlob(d)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return Manifest{}, errors.Join(ErrBadManifest, err)
	}
	return m, nil
}

// ErrBadManifest marks a manifest that is there but cannot be understood.
var ErrBadManifest = errors.New("the manifest is damaged")
