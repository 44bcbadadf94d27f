package mirror

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's own types; those of OCI are in image-spec.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var errManifest = errors.New("not a manifest of an image")

// MediaTypeOf says what a manifest is, from nothing but its content, which its digest
// vouches for. What an answer's header says can be any node's word.
//
// OCI's types may be left out of the content, Docker's may not. What names the parts of
// an image and those of an index is neither: a reader might take it for the other
// (https://github.com/advisories/GHSA-mc8v-mgrf-8f4m).
func MediaTypeOf(content []byte) (string, error) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return "", fmt.Errorf("%w: %w", errManifest, err)
	}
	image, index := m.Config != nil || m.Layers != nil, m.Manifests != nil
	switch {
	case m.SchemaVersion != 2:
		return "", fmt.Errorf("%w: it has schema version %d", errManifest, m.SchemaVersion)
	case image == index:
		return "", fmt.Errorf("%w: it is to be that of an image or an index", errManifest)
	}
	own, docker := v1.MediaTypeImageManifest, dockerManifest
	if index {
		own, docker = v1.MediaTypeImageIndex, dockerIndex
	}
	switch m.MediaType {
	case "":
		return own, nil
	case own, docker:
		return m.MediaType, nil
	}
	return "", fmt.Errorf("%w: it calls itself %.100q", errManifest, m.MediaType)
}
