//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// Hit ends the process at once, with nothing written or closed, if p is the point
// that the environment names.
func Hit(p Point) {
	if os.Getenv(Env) != string(p) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal arrives
}

// CertLife returns what the environment says, else life.
func CertLife(life time.Duration) time.Duration { return duration(EnvCertLife, life) }

// Round returns what the environment says, else limit.
func Round(limit time.Duration) time.Duration { return duration(EnvRound, limit) }

// Scaling returns a share of a time for which services are seen before they are scaled, as the environment says.
func Scaling(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv(EnvScaling)); err == nil && n > 0 {
		return d / time.Duration(n)
	}
	return d
}

func duration(env string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(env)); err == nil {
		return d
	}
	return otherwise
}
