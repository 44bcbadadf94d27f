package bound

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

func TestPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("x", 30)
		for _, c := range []struct {
			limit *rate.Limiter
			takes time.Duration
		}{{nil, 0}, {rate.NewLimiter(5, 5), 5 * time.Second}, {rate.NewLimiter(10, 100), 0}} {
			begun := time.Now()
			got, err := io.ReadAll(Paced(t.Context(), strings.NewReader(text), c.limit))
			if err != nil || string(got) != text || time.Since(begun).Round(time.Second) != c.takes {
				t.Errorf("read %d bytes in %s, want %s: %v", len(got), time.Since(begun), c.takes, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Pace(ctx, rate.NewLimiter(1, 1), 5); err == nil {
			t.Error("waited longer than the context lasts")
		}
	})
}
