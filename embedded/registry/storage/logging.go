package storage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

var (
	logrusTarget   atomic.Pointer[slog.Logger]
	logrusRedirect sync.Once
)

// RedirectLogrus sends what distribution logs to log. See the package's doc for
// why this is a thing of the whole process.
func RedirectLogrus(log *slog.Logger) {
	logrusTarget.Store(log)
	logrusRedirect.Do(func() {
		std := logrus.StandardLogger()
		std.SetOutput(io.Discard)
		std.SetFormatter(noFormat{})
		std.AddHook(slogHook{})
	})
}

// noFormat saves the work for an output that is thrown away.
type noFormat struct{}

func (noFormat) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type slogHook struct{}

func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

// Whoever may read can provoke a warning with each request, so they are limited.
const (
	warningsAtOnce = 20
	warningEvery   = 10 * time.Second
	maxLogged      = 256 // bytes, of each field
)

var (
	warnings   = rate.NewLimiter(rate.Every(warningEvery), warningsAtOnce)
	suppressed atomic.Int64 // warnings since the last that was logged
)

func (slogHook) Fire(e *logrus.Entry) error {
	log, level := logrusTarget.Load(), levelOf(e)
	if !log.Enabled(context.Background(), level) {
		return nil
	}
	if level >= slog.LevelWarn && !warnings.Allow() {
		suppressed.Add(1)
		return nil
	}
	var attrs []slog.Attr
	for _, key := range loggedFields {
		if v, ok := e.Data[key]; ok {
			attrs = append(attrs, slog.String(key, short(fmt.Sprint(v))))
		}
	}
	if n := suppressed.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	log.LogAttrs(context.Background(), level, short(e.Message), attrs...)
	return nil
}

func short(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxLogged)], "") }

// loggedFields lists the fields worth keeping of the dozens that distribution
// attaches to each line.
var loggedFields = []string{
	"http.request.method", "http.request.uri", "http.request.remoteaddr",
	"http.response.status", "err.code", "err.message", "err.detail", logrus.ErrorKey,
}

// expected are errors that belong to each push: "do you have this blob? no".
var expected = []errcode.ErrorCode{
	errcode.ErrorCodeBlobUnknown, errcode.ErrorCodeManifestUnknown, errcode.ErrorCodeNameUnknown,
}

func levelOf(e *logrus.Entry) slog.Level {
	if e.Level > logrus.WarnLevel {
		return slog.LevelDebug
	}
	if code, ok := e.Data["err.code"].(errcode.ErrorCode); ok && slices.Contains(expected, code) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
