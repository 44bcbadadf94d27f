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

func Handler(_ Point, h http.Handler) http.Handler { return h }

func CertLife(life time.Duration) time.Duration { return life }

func Round(limit time.Duration) time.Duration { return limit }

func Scaling(d time.Duration) time.Duration { return d }
