package configs

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// maxSecretFile bounds what is read as a password or a URL with one, in bytes.
const maxSecretFile = 4096

// Secret returns the queue's password: Password, or the content of PasswordFile
// without white space around it. It is empty when the file names neither, and
// the caller then makes one. An unreadable or empty PasswordFile is an error,
// since it must not turn into a queue with another password.
func (q Queue) Secret() (string, error) {
	if q.PasswordFile == "" {
		return q.Password, nil
	}
	return readSecret("queue.password_file", q.PasswordFile)
}

// readSecret returns what the file that a key names has, without white space around it.
func readSecret(key, path string) (string, error) { return readSmall(key, path, maxSecretFile) }

func readSmall(key, path string, most int) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	if len(data) > most {
		return "", fmt.Errorf("read %s: %s is larger than %d bytes", key, path, most)
	}
	text := strings.TrimSpace(words.WithoutMark(string(data)))
	if text == "" {
		return "", fmt.Errorf("read %s: %s is empty", key, path)
	}
	return text, nil
}

// maxCAFile bounds a file of certificates, in bytes.
const maxCAFile = 64 << 10

// readCertificates reads a file of certificates in PEM.
func readCertificates(key, path string) (string, error) {
	text, err := readSmall(key, path, maxCAFile)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		return "", fmt.Errorf("read %s: there is no certificate in %s; it has to be PEM", key, path)
	}
	return text, err
}

// What keeps the queue's items.
const (
	EngineEmbedded = "embedded" // crawlbox itself
	EngineURL      = "url"      // a Redis or Valkey of one's own
	EngineValkey   = "valkey"   // a Valkey on two managers, which crawlbox runs
)

// DefaultValkey is the image that EngineValkey runs.
const DefaultValkey = "valkey/valkey:8.1-alpine"

// RedisServer is a server that speaks Redis.
type RedisServer struct {
	Addr     string // host:port
	TLS      bool
	User     string // empty: "default"
	Password string // empty: none
	DB       int
	CA       string // who signs its certificate, in PEM; empty: who this machine trusts
}

// String returns the server's URL without user and password.
func (r RedisServer) String() string {
	scheme := "redis"
	if r.TLS {
		scheme = "rediss"
	}
	return fmt.Sprintf("%s://%s/%d", scheme, r.Addr, r.DB)
}

// Server returns the engine that URL or the content of URLFile names, nil where Engine is none of its own. The error
// names neither user nor password.
func (q Queue) Server() (*RedisServer, error) {
	if q.Engine != EngineURL {
		return nil, nil
	}
	key, text := "queue.url", q.URL
	if q.URLFile != "" {
		var err error
		if text, err = readSecret("queue.url_file", q.URLFile); err != nil {
			return nil, err
		}
		key = "queue.url_file: " + q.URLFile
	}
	server, err := parseRedisURL(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if q.URLCA == "" {
		return &server, nil
	}
	if !server.TLS {
		return nil, fmt.Errorf("queue.url_ca: %s has no TLS: begin it with rediss://, or remove queue.url_ca", key)
	}
	server.CA, err = readCertificates("queue.url_ca", q.URLCA)
	return &server, err
}

const redisURLForm = "redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS, with %XX for what is special"

// parseRedisURL reads a URL. Its errors do not have it: it has a password.
func parseRedisURL(text string) (r RedisServer, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return r, errors.New("is no URL: write " + redisURLForm)
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		r.TLS = true
	default:
		return r, errors.New("must begin with redis://, or rediss:// for TLS")
	}
	host, port := u.Hostname(), cmp.Or(u.Port(), "6379")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return r, errors.New("has no port from 1 to 65535")
	}
	if host == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" {
		return r, errors.New("has no host, or more than that: write " + redisURLForm)
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if r.DB, err = strconv.Atoi(db); err != nil || r.DB < 0 {
			return r, errors.New("must end with the number of a database, such as /0")
		}
	}
	r.Addr, r.User = net.JoinHostPort(host, port), u.User.Username()
	r.Password, _ = u.User.Password()
	if r.User != "" && r.Password == "" {
		return r, errors.New("has a user and no password: write " + redisURLForm)
	}
	return r, nil
}

func (q Queue) checkEngine() (found []keyProblem) {
	add := func(key, reason string) {
		found = append(found, keyProblem{key: key, reason: reason, other: "queue.engine"})
	}
	if q.Engine != EngineValkey && q.Image != DefaultValkey {
		add("queue.image", "is for another engine: set queue.engine to valkey, or remove it")
	}
	if q.Engine != EngineURL && q.URLCA != "" {
		add("queue.url_ca", "is for another engine: set queue.engine to url, or remove it")
	}
	switch {
	case q.URL != "" && q.URLFile != "":
		add("queue.url_file", "queue.url is set too: remove one of them")
	case q.Engine != EngineURL && q.URL != "":
		add("queue.url", "is for another engine: set queue.engine to url, or remove it")
	case q.Engine != EngineURL && q.URLFile != "":
		add("queue.url_file", "is for another engine: set queue.engine to url, or remove it")
	case q.Engine == EngineURL && q.URL == "" && q.URLFile == "":
		add("queue.engine", "url wants to know where it is: set queue.url to "+redisURLForm+", or queue.url_file to "+
			"a file with that")
	case q.URL != "":
		if _, err := parseRedisURL(q.URL); err != nil {
			add("queue.url", err.Error())
		}
	}
	return found
}

const (
	mostLease   = 1000 // items of a window, and deliveries
	mostSafe    = 100  // patterns
	mostPattern = 256  // bytes of one
)

func (q Queue) checkLeases() (found []keyProblem) {
	add := func(key, format string, args ...any) {
		found = append(found, keyProblem{key: key, reason: fmt.Sprintf(format, args...), other: "queue.safe"})
	}
	if q.Window < 1 || q.Window > mostLease {
		add("queue.window", "must be from 1 to %d items, not %d", mostLease, q.Window)
	}
	if q.MaxDeliveries < 1 || q.MaxDeliveries > mostLease {
		add("queue.max_deliveries", "must be from 1 to %d, not %d", mostLease, q.MaxDeliveries)
	}
	if len(q.Safe) > mostSafe {
		add("queue.safe", "has %d patterns, at most %d: use some that are of more keys", len(q.Safe), mostSafe)
	}
	for _, pattern := range q.Safe {
		switch {
		case pattern == "" || len(pattern) > mostPattern:
			add("queue.safe", "%.40q must have 1 to %d bytes", pattern, mostPattern)
		case strings.HasPrefix(pattern, "crawlbox:"):
			add("queue.safe", "%q is of the lists of the leases themselves, crawlbox:*: take it out", pattern)
		case strings.HasSuffix(pattern, ":dead"):
			add("queue.safe", "%q is of lists of dead items, KEY:dead: take it out", pattern)
		}
	}
	return found
}

// checkFiles returns which files with secrets are not there, or have none. What the caller may not read may be good.
func (q Queue) checkFiles() (found []keyProblem) {
	_, password := q.Secret()
	_, server := q.Server()
	for _, file := range []struct {
		key, path string
		err       error
	}{{"queue.password_file", q.PasswordFile, password}, {"queue.url_file", q.URLFile, server}} {
		switch {
		case file.path == "" || file.err == nil || errors.Is(file.err, fs.ErrPermission):
		case errors.Is(file.err, fs.ErrNotExist):
			reason := "there is no file " + file.path + " on this machine"
			found = append(found, keyProblem{key: file.key, reason: reason})
		default:
			reason := strings.TrimPrefix(strings.TrimPrefix(file.err.Error(), "read "), file.key+": ")
			found = append(found, keyProblem{key: file.key, reason: reason})
		}
	}
	return found
}

// odd returns what is set and does nothing, or is not what it looks like.
func (q Queue) odd(set func(key string) bool) (found []keyProblem) {
	add := func(key, format string, args ...any) {
		found = append(found, keyProblem{key: key, reason: fmt.Sprintf(format, args...)})
	}
	for _, key := range []string{"queue.window", "queue.max_deliveries", "queue.linger"} {
		if len(q.Safe) == 0 && set(key) {
			add(key, "does nothing without queue.safe: name the keys there that are to lose no item")
		}
	}
	if q.Engine != EngineValkey && set("queue.engine_port") {
		add("queue.engine_port", "does nothing without queue.engine: valkey")
	}
	for i, pattern := range q.Safe {
		switch {
		case slices.Contains(q.Safe[:i], pattern):
			add("queue.safe", "%q is there twice", pattern)
		case strings.ContainsFunc(pattern, unicode.IsSpace):
			add("queue.safe", "%q is one pattern, of keys that have such a space: write several with commas, or "+
				"as a list", pattern)
		}
	}
	return found
}
