package keycopy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

const (
	dialTimeout  = 5 * time.Second
	replyTimeout = 30 * time.Second // of one chunk
)

// Server is one end of a copy.
type Server struct {
	Name     string // HOST:PORT, for errors
	Database int

	client       *redis.Client
	oldDeadlines bool // it does not know PEXPIRETIME
}

// errURL says how a URL has to be. That of url.Parse would show the password.
var errURL = errors.New("write it as redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS, with %XX for " +
	"special characters of the password; only the host has to be there")

// Open returns the server at a URL of Redis. It does not connect. roots vouch for a server with TLS;
// nil: those of this machine.
func Open(text string, roots *x509.CertPool) (*Server, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("that is no URL: %w", errURL)
	case u.Scheme != "redis" && u.Scheme != "rediss", u.Hostname() == "":
		return nil, fmt.Errorf("that is no URL of a Redis server: %w", errURL)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the URL has parameters, which are not known: %w", errURL)
	}
	database := 0
	if path := strings.Trim(u.Path, "/"); path != "" {
		if database, err = strconv.Atoi(path); err != nil || database < 0 {
			return nil, fmt.Errorf("%q is no number of a database: %w", path, errURL)
		}
	}
	u.Path = ""
	opts, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("that is no URL of a Redis server: %w", errURL)
	}
	opts.DB = database
	opts.Protocol, opts.DisableIdentity = 2, true // what all know
	opts.MaxRetries = -1                          // an item may have been added though there was no answer
	opts.DialerRetries = 1
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = dialTimeout, replyTimeout, replyTimeout
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("that is no URL of a Redis server: %w", errURL)
		}
	}
	if opts.TLSConfig != nil {
		opts.TLSConfig.RootCAs = roots
	}
	dial := redis.NewDialer(opts)
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &bounded{Conn: c}, nil
	}
	return &Server{Name: opts.Addr, Database: database, client: redis.NewClient(opts)}, nil
}

// Close ends the connections.
func (s *Server) Close() { _ = s.client.Close() }

// probe finds out whether the source answers, and how it tells deadlines.
func (s *Server) probe(ctx context.Context) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return s.fault(err)
	}
	err := s.client.Do(ctx, "PEXPIRETIME", ownPrefix+"none").Err()
	if s.oldDeadlines = said(err) != ""; s.oldDeadlines {
		return nil
	}
	return s.fault(err)
}

// said returns what a server answered, where an error is that and not a connection that broke.
func said(err error) string {
	var answer redis.Error
	if errors.As(err, &answer) && !errors.Is(err, redis.Nil) {
		return answer.Error()
	}
	return ""
}

// fault names the server in an error.
func (s *Server) fault(err error) error {
	began := func(words ...string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(said(err), word) })
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case began("NOAUTH"):
		return words.Error(err, "%s wants a password; put it into its URL, as redis://:PASSWORD@HOST:PORT", s.Name)
	case began("WRONGPASS", "ERR invalid password", "ERR AUTH"):
		return words.Error(err, "%s refuses the user or the password of its URL", s.Name)
	case began("MOVED", "CROSSSLOT"):
		return words.Error(err, "%s is a Redis Cluster, whose keys are on several servers; it has to be one server",
			s.Name)
	case began("OOM"):
		return words.Error(err, "%s is full; take items out, or give it more memory (the cluster's queue: "+
			"queue.max_memory)", s.Name)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%s has a certificate of a CA that this machine does not trust; name the CA's with --ca",
			s.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer; check address and port, and redis:// or rediss://, which is with TLS",
			s.Name)
	case errors.As(err, new(*strconv.NumError)):
		return fmt.Errorf("%s sends something else where a number should be; it is no Redis server", s.Name)
	case said(err) != "":
		return words.Error(err, "%s says %q", s.Name, said(err))
	}
	return fmt.Errorf("%s: %w", s.Name, err)
}

// look returns what keys are and how much is in them, without those that are gone.
func (s *Server) look(ctx context.Context, names []string) ([]listed, error) {
	if len(names) == 0 {
		return nil, nil
	}
	kinds := make([]*redis.StatusCmd, len(names))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			kinds[i] = p.Type(ctx, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sizes := make([]*redis.Cmd, len(names))
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Ping(ctx)
		for i, name := range names {
			if k := plainKinds[kinds[i].Val()]; k != nil && k.size != "" {
				sizes[i] = p.Do(ctx, k.size, name)
			}
		}
		return nil
	})
	if err != nil && said(err) == "" { // it may be of another type by now
		return nil, err
	}
	var found []listed
	for i, name := range names {
		k := listed{name: name, kind: kinds[i].Val(), size: 1}
		if sizes[i] != nil {
			k.size, _ = sizes[i].Int64()
		}
		if k.kind != "none" {
			found = append(found, k)
		}
	}
	return found, nil
}
