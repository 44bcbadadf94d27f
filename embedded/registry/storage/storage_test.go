package storage

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestNewApp_BadConfigIsAnError(t *testing.T) {
	if _, err := NewApp("secret", nil, false); err == nil {
		t.Error("NewApp accepted a missing driver")
	}
}

// TestRedirectLogrus_Bounded is not parallel: distribution's log is one for the process.
func TestRedirectLogrus_Bounded(t *testing.T) {
	var out bytes.Buffer
	RedirectLogrus(slog.New(slog.NewTextHandler(&out, nil)))
	before, most := suppressed.Load(), warningsAtOnce+2
	for range 500 {
		logrus.WithField("http.request.uri", strings.Repeat("z", 900)).Error("unknown")
	}
	if n := strings.Count(out.String(), "\n"); n > most || n == 0 && suppressed.Load() == before {
		t.Errorf("500 warnings made %d lines of log, %d more were held back", n, suppressed.Load()-before)
	}
	if out.Len() > most*len(loggedFields)*(maxLogged+64) {
		t.Errorf("the lines have %d bytes", out.Len())
	}
}
