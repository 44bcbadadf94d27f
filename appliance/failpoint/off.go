//go:build !failpoints

package failpoint

import (
	"net/http"
	"time"
)

// Hit does nothing.
func Hit(Point) {}

// Hang does nothing.
func Hang(Point) {}

// Handler returns h.
func Handler(_ Point, h http.Handler) http.Handler { return h }

// CertLife returns life.
func CertLife(life time.Duration) time.Duration { return life }

// Round returns limit.
func Round(limit time.Duration) time.Duration { return limit }
