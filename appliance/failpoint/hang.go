//go:build failpoints

package failpoint

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Hang does not return while the file that the environment names has p in it.
func Hang(p Point) {
	for {
		text, _ := os.ReadFile(os.Getenv(EnvHang))
		if !slices.Contains(strings.Fields(string(text)), string(p)) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Handler returns a handler that hangs at p, and is as h otherwise.
func Handler(p Point, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Hang(p)
		h.ServeHTTP(w, r)
	})
}
