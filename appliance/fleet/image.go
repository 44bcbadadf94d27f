package fleet

import "time"

// Image is a tag in the cluster's registry.
type Image struct {
	Repository string    `json:"repository"`
	Tag        string    `json:"tag"`
	Digest     string    `json:"digest"`
	Size       int64     `json:"size"` // bytes of config and layers, compressed
	Pushed     time.Time `json:"pushed"`
	Used       []string  `json:"used,omitempty"` // services that run it
}
