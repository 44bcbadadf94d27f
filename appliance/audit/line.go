package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of a record, most of which comes from outside.
const (
	maxValue = 256 // bytes
	maxKey   = 64  // bytes
	maxAttrs = 32  // in all groups together
)

// encode makes the line of a record, newline included.
func encode(now time.Time, event string, attrs []slog.Attr) []byte {
	var buf bytes.Buffer
	h := slog.NewJSONHandler(&buf, &slog.HandlerOptions{ReplaceAttr: rename})
	r := slog.NewRecord(now.UTC(), slog.LevelInfo, event, 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(context.Background(), r) // a buffer takes everything
	return buf.Bytes()
}

// rename gives slog's own keys the names of this log.
func rename(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == slog.LevelKey:
		return slog.Attr{}
	case a.Key == slog.MessageKey:
		a.Key = "event"
	}
	return a
}

// clean bounds what is recorded, and turns it into plain values.
func clean(event string, attrs []slog.Attr) (string, []slog.Attr) {
	left := maxAttrs
	return truncate(event, maxKey), cleanAll(attrs, &left)
}

func cleanAll(attrs []slog.Attr, left *int) []slog.Attr {
	var out []slog.Attr
	for _, a := range attrs {
		if *left <= 0 {
			break
		}
		*left--
		out = append(out, slog.Attr{Key: attrKey(a.Key), Value: value(a.Value.Resolve(), left)})
	}
	return out
}

// attrKey keeps a name from being taken for one of the log's own.
func attrKey(name string) string {
	switch name = truncate(name, maxKey); name {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey, "event":
		return name + "_"
	}
	return name
}

func value(v slog.Value, left *int) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(truncate(v.String(), maxValue))
	case slog.KindGroup:
		return slog.GroupValue(cleanAll(v.Group(), left)...)
	case slog.KindAny:
		return slog.StringValue(truncate(fmt.Sprint(v.Any()), maxValue))
	}
	return v
}

// truncate shortens text to limit bytes, at the end of a character, and replaces what
// could steer a terminal and what JSON does not escape.
func truncate(text string, limit int) string {
	if len(text) > limit {
		const mark = "…"
		end := limit - len(mark)
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + mark
	}
	return strings.Map(func(r rune) rune {
		if r >= ' ' && !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}
