//go:build !failpoints

package failpoint

import "time"

// Hit does nothing.
func Hit(Point) {}

// CertLife returns life.
func CertLife(life time.Duration) time.Duration { return life }
