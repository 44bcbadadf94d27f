package access

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Options say who may use the registry over the network.
type Options struct {
	// Accounts may log in.
	Accounts *Accounts
	// Peer says what a client without credentials may do, from who is at the
	// other end of the connection. Its error, where it gives None, goes to the
	// log, and shortened to the client. The request's context bounds it.
	Peer func(r *http.Request) (Right, error)
	// Member reports whether the address still belongs to a node; asked each time
	// that a node's token is used. If nil, a token lives out its time.
	Member func(addr netip.Addr) bool
	// Host reports whether a Host header names the registry.
	Host func(hostport string) bool
	// Admit is called when a request has proved who it is, "account NAME" or
	// "node ADDRESS". It may be nil.
	Admit func(r *http.Request, who string)
	// Audit records logins and what was refused, each time: it has to bound what
	// strangers can write. It may be nil.
	Audit func(event string, attrs ...slog.Attr)
	// Log gets what a person may want to look at.
	Log *slog.Logger
	// Clock tells the time; time.Now if nil.
	Clock func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Member == nil {
		o.Member = func(netip.Addr) bool { return true }
	}
	if o.Admit == nil {
		o.Admit = func(*http.Request, string) {}
	}
	if o.Audit == nil {
		o.Audit = func(string, ...slog.Attr) {}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

// network is the middleware of the TLS port.
type network struct {
	Options
	registry  http.Handler
	reading   http.Handler // for those who may only read
	tokens    *tokens
	passwords *passwords
	notes     *bound.Rate[netip.Prefix] // bounds what strangers can write into Log
}

// Network guards the registry's port on the network.
func Network(h http.Handler, o Options) http.Handler { return newNetwork(h, o) }

func newNetwork(h http.Handler, o Options) *network {
	o = o.withDefaults()
	return &network{
		Options:   o,
		registry:  h,
		reading:   registry.ReadOnly(h),
		tokens:    newTokens(o.Clock),
		passwords: newPasswords(o.Accounts, o.Clock),
		notes:     newTryLimit(o.Clock),
	}
}

func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := checkOrigin(r, n.Host); err != nil {
		refuse(w, r, err)
		return
	}
	if r.URL.Path == tokenPath {
		n.serveToken(w, r)
		return
	}
	p, err := n.identify(r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	n.Admit(r, p.String())
	if err := permit(p, r); err != nil {
		refuse(w, r, err)
		return
	}
	if p.Right < Write {
		n.reading.ServeHTTP(w, r)
		return
	}
	n.registry.ServeHTTP(w, r)
}

func permit(p party, r *http.Request) error {
	switch {
	case r.Method == http.MethodDelete:
		return errNoDelete
	case p.Right < wanted(r):
		return errNoWrite
	}
	return nil
}

// identify finds out who sends a request to the registry itself.
func (n *network) identify(r *http.Request) (party, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "basic":
		p, fresh, err := n.login(r)
		if err == nil && fresh {
			n.recordLogin(r, p)
		}
		return p, err
	case "bearer":
		p, err := n.tokens.read(token)
		if err == nil {
			err = n.stillValid(p, address(r))
		}
		if err != nil {
			n.recordRefusal(r, err)
			return party{}, &unauthenticatedError{message: err.Error(), token: true}
		}
		return p, nil
	}
	if !usesNoTokens(r) {
		return party{}, &unauthenticatedError{message: "authentication required"}
	}
	p, err := n.recognize(r)
	if err == nil && p.Right < wanted(r) {
		err = &unauthenticatedError{message: errNoWrite.Error()} // it may have a login
	}
	return p, err
}

// usesNoTokens tells a Docker Engine that keeps its images in containerd: see the
// package comment.
func usesNoTokens(r *http.Request) bool {
	return strings.Contains(r.UserAgent(), "containerd-client/")
}

// stillValid checks what may have changed since the token was made.
func (n *network) stillValid(p party, from netip.Addr) error {
	if p.Account != "" {
		if a, ok := n.Accounts.find(p.Account); !ok || a.Issue != p.Issue {
			return errors.New("the account of this token was removed or has another password: log in again")
		}
		return nil
	}
	if p.Node != from || !n.Member(from) {
		return errors.New("this token is for another address, or for a node that was removed")
	}
	return nil
}

// login checks user and password. fresh says that they were not known from a
// moment ago.
func (n *network) login(r *http.Request) (p party, fresh bool, err error) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return party{}, false, &unauthenticatedError{message: "the Authorization header is malformed"}
	}
	issue, fresh, err := n.passwords.check(r.Context(), address(r), user, password)
	if err != nil {
		n.recordRefusal(r, err, slog.String("user", printable(user)))
		return party{}, false, err
	}
	return party{Account: user, Issue: issue, Right: Write}, fresh, nil
}

func (n *network) recordLogin(r *http.Request, p party) {
	n.Audit("registry login", slog.String("user", p.Account), slog.String("from", r.RemoteAddr))
}

func (n *network) recordRefusal(r *http.Request, why error, attrs ...slog.Attr) {
	n.Audit("registry login refused",
		append(attrs, slog.String("from", r.RemoteAddr), slog.String("error", why.Error()))...)
}

// printable keeps a password that was typed in the wrong field out of the logs.
func printable(user string) string {
	if naming.CheckAccount(user) != nil {
		return "(not a user name)"
	}
	return user
}
