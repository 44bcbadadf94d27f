package lease

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Bounds of the rules.
const (
	MostWindow     = 1000
	MostDeliveries = 1000
	MostPatterns   = 100
)

// Rules say which keys are safe, and what that means.
type Rules struct {
	Safe          []string // patterns of keys, as of Redis' KEYS
	Window        int      // how many newer pops of its holder make an item done; at least 1
	MaxDeliveries int      // an item that came back so often is dead; at least 1
	Linger        bool     // a pop that finds nothing waits while others hold items of the key
}

// lingerFor is how long a pop waits that does not block.
const lingerFor = 5 * time.Second

// Validate returns an error that says which rule cannot be kept, and why.
func (r Rules) Validate() error {
	switch {
	case r.Window < 1 || r.Window > MostWindow:
		return fmt.Errorf("invalid window %d: use a number of items from 1 to %d", r.Window, MostWindow)
	case r.MaxDeliveries < 1 || r.MaxDeliveries > MostDeliveries:
		return fmt.Errorf("invalid max_deliveries %d: use a number from 1 to %d", r.MaxDeliveries, MostDeliveries)
	case len(r.Safe) > MostPatterns:
		return fmt.Errorf("%d patterns in safe, more than %d: use patterns that cover more keys", len(r.Safe),
			MostPatterns)
	}
	for _, pattern := range r.Safe {
		switch {
		case pattern == "" || len(pattern) > argument.MaxPattern:
			return fmt.Errorf("invalid pattern %.40q in safe: use 1 to %d bytes", pattern, argument.MaxPattern)
		case strings.HasPrefix(pattern, script.Prefix):
			return fmt.Errorf("pattern %q in safe matches the lists of the leases themselves, which begin with %s: "+
				"take it out", pattern, script.Prefix)
		case strings.HasSuffix(pattern, script.DeadSuffix):
			return fmt.Errorf("pattern %q in safe matches lists of dead items, which end with %s: take it out", pattern,
				script.DeadSuffix)
		}
	}
	return nil
}

// Leased reports whether pops of a key are leases. Those of the leases' own lists and of
// dead items are not, whatever the patterns say.
func (r Rules) Leased(key string) bool {
	if strings.HasPrefix(key, script.Prefix) || strings.HasSuffix(key, script.DeadSuffix) {
		return false
	}
	for _, pattern := range r.Safe {
		if argument.Match(pattern, key) {
			return true
		}
	}
	return false
}

// About is what is told of a holder.
type About struct {
	Node  string `json:"node,omitempty"`  // the ID of its node
	Name  string `json:"name,omitempty"`  // of the task, or where a connection comes from
	Since int64  `json:"since,omitempty"` // Unix time in s
	// From is the address of the other machine that a connection comes from; empty: it is a container, or of this one.
	From string `json:"from,omitempty"`
}

// Holder is who pops.
type Holder struct {
	ID    string // the container, or the connection where there is none; at most 128 bytes
	Conn  string // unique among all connections ever; without ':' and '.', at most 64 bytes
	about string
}

// NewHolder returns the holder of one connection.
func NewHolder(id, conn string, about About) Holder {
	text, err := json.Marshal(about)
	if err != nil {
		text = []byte("{}") // strings and a number always are JSON
	}
	return Holder{ID: id, Conn: conn, about: string(text)}
}
