package configs

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// field reads one setting from text, and writes it back.
type field struct {
	set  func(text string) error
	text func() string
}

func bind[T any](p *T, parse func(string) (T, error), format func(T) string) field {
	return field{
		set: func(text string) (err error) {
			v, err := parse(text)
			if err != nil {
				return err
			}
			*p = v
			return nil
		},
		text: func() string { return format(*p) },
	}
}

func text(p *string) field {
	same := func(s string) string { return s }
	return bind(p, func(s string) (string, error) { return s, nil }, same)
}

func address(p *netip.Addr) field {
	return bind(p, parseAddress, func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	})
}

func parseAddress(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return addr, fmt.Errorf("must be an IP address, not %q", s)
	}
	if addr.IsUnspecified() || addr.IsMulticast() {
		return addr, fmt.Errorf("must be an address that other nodes can reach, not %s", addr)
	}
	return addr.Unmap(), nil
}

func port(p *uint16) field {
	return bind(p, func(s string) (uint16, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("must be a port from 1 to 65535, not %q", s)
		}
		return uint16(n), nil
	}, func(n uint16) string { return strconv.Itoa(int(n)) })
}

func size(p *Bytes) field { return bind(p, ParseBytes, Bytes.String) }

func duration(p *time.Duration) field {
	return bind(p, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("must be a duration such as 5s or 1m30s, not %q", s)
		}
		return d, nil
	}, time.Duration.String)
}

func integer(p *int) field {
	return bind(p, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("must be a whole number, not %q", s)
		}
		return n, nil
	}, strconv.Itoa)
}

func engine(p *string) field {
	return bind(p, func(s string) (string, error) {
		if s != EngineEmbedded && s != EngineURL && s != EngineValkey {
			return "", fmt.Errorf("must be %s, %s or %s, not %q", EngineEmbedded, EngineValkey, EngineURL, s)
		}
		return s, nil
	}, func(s string) string { return s })
}

// list has its items with commas between; one that has a comma has \, there.
func list(p *[]string) field {
	return bind(p, func(s string) (items []string, err error) {
		begin := 0
		for i := 0; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case ',':
				items, begin = append(items, strings.TrimSpace(s[begin:i])), i+1
			}
		}
		if s == "" {
			return nil, nil
		}
		return append(items, strings.TrimSpace(s[begin:])), nil
	}, func(items []string) string { return strings.Join(items, ",") })
}

// listItem returns an item as it stands in the text of a list.
func listItem(item string) string {
	var b strings.Builder
	for i := 0; i < len(item); i++ {
		switch {
		case item[i] == '\\' && i+1 < len(item):
			b.WriteByte(item[i])
			i++
		case item[i] == ',':
			b.WriteByte('\\')
		}
		b.WriteByte(item[i])
	}
	return b.String()
}

func boolean(p *bool) field { return bind(p, parseBool, strconv.FormatBool) }

// parseBool takes only what YAML 1.2 takes: "yes" and "on" would be true to one
// reader and text to the next.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("must be true or false, not %q", s)
}

func level(p *slog.Level) field {
	return bind(p, func(s string) (slog.Level, error) {
		var l slog.Level
		if l.UnmarshalText([]byte(s)) != nil {
			return 0, fmt.Errorf("must be debug, info, warn or error, not %q", s)
		}
		return l, nil
	}, func(l slog.Level) string { return strings.ToLower(l.String()) })
}
