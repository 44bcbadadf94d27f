package api

import "time"

// Token is the line that joins a node.
type Token struct {
	ID      string    `json:"id"`
	Role    string    `json:"role"`
	Join    string    `json:"join"`             // CBX1-…
	Command string    `json:"command"`          // the whole line to paste
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Uses    int       `json:"uses,omitempty"`   // how many nodes it may join; 0: any number

	// Bootstrap is the line for a machine that has no crawlbox yet.
	Bootstrap string `json:"bootstrap,omitempty"`
}

// TokenRequest asks for a token of its own. One of TTL and Uses is set.
type TokenRequest struct {
	Role string        `json:"role"`
	TTL  time.Duration `json:"ttl_ns,omitempty"` // 0: it does not expire; else a second or more
	Uses int           `json:"uses,omitempty"`   // 0: any number of nodes
}

// States of a token.
const (
	TokenGood    = "good"
	TokenExpired = "expired"
	TokenUsedUp  = "used up"
	TokenRevoked = "revoked"
)

// TokenInfo is what is known of a token besides its secret.
type TokenInfo struct {
	ID       string    `json:"id"`
	Role     string    `json:"role"`
	State    string    `json:"state"` // good, expired, used up or revoked
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never
	Uses     int       `json:"uses"`             // nodes it may join; 0: any number
	Used     int       `json:"used"`             // nodes it has joined
	Standing bool      `json:"standing"`         // the one that is printed at every start
}

// RegistryLogin is what a machine outside the cluster needs to push images.
type RegistryLogin struct {
	Registry string `json:"registry"` // ADDRESS:8003
	User     string `json:"user"`
	Password string `json:"password"`
	CA       string `json:"ca"` // PEM; for /etc/docker/certs.d
}

// RegistryAccount is a login that was issued, without its password.
type RegistryAccount struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}
