package fleet

import "time"

// Image is a tag in the cluster's registry.
type Image struct {
	Repository string    `json:"repository"`
	Tag        string    `json:"tag"`
	Digest     string    `json:"digest"`
	Size       int64     `json:"size"` // bytes of config and layers, compressed
	Pushed     time.Time `json:"pushed,omitzero"`
	Used       []string  `json:"used,omitempty"`  // services that run it
	Nodes      *Holders  `json:"nodes,omitempty"` // nil: no node could be asked
}

// Holders counts the nodes on which a task of an image starts without a pull.
type Holders struct {
	Have    int `json:"have"`
	All     int `json:"all"`     // nodes of the cluster
	Unknown int `json:"unknown"` // of these, those that are down or did not answer
}
