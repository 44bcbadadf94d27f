package admission

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// LoginTimeout is how long a client has from its connection to the right password.
const LoginTimeout = 10 * time.Second

// User is the only user that there is.
const User = "default"

// MaxGuesses are the wrong passwords of one connection.
const MaxGuesses = 3

const (
	errWrongPair = "WRONGPASS invalid username-password pair or user is disabled."
	errHelloAuth = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH " +
		"<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the " +
		"same time"
	errSyntax = "ERR syntax error"
	// ErrName refuses a name of a client.
	ErrName = "ERR Client names cannot contain spaces, newlines or special characters."
)

// Passwords checks the password of the user "default".
type Passwords struct {
	hash   [sha256.Size]byte // to compare in constant time
	logins *Limiter
}

func NewPasswords(password string, log *slog.Logger) *Passwords {
	return &Passwords{hash: sha256.Sum256([]byte(password)), logins: NewLimiter(log)}
}

// Tidy forgets addresses that owe nothing, until ctx ends.
func (p *Passwords) Tidy(ctx context.Context) { p.logins.Tidy(ctx) }

// Guest is a client, which may have logged in. One goroutine uses it.
type Guest struct {
	Authed bool
	Quit   bool // the connection has to end, once the answers so far are sent

	from     netip.Prefix
	guesses  int // wrong passwords so far
	refusals int // attempts that came too early
}

// NewGuest returns a client that has not logged in.
func NewGuest(conn net.Conn) Guest { return Guest{from: source(conn)} }

// Auth answers AUTH [user] password: it returns what refuses it, empty where the client has logged in now.
func (p *Passwords) Auth(ctx context.Context, g *Guest, args []string) (refusal string) {
	switch len(args) {
	case 2:
		return p.Login(ctx, g, User, args[1])
	case 3:
		return p.Login(ctx, g, args[1], args[2])
	}
	return errSyntax
}

// Login checks a password when the address may try one, which it waits for. It returns what refuses it, empty where
// the client has logged in now. The connection ends when it may not for now, and after MaxGuesses.
func (p *Passwords) Login(ctx context.Context, g *Guest, user, password string) (refusal string) {
	if g.Authed && p.right(user, password) { // the client knows it
		return ""
	}
	err := p.logins.Try(ctx, g.from, func() bool { return p.right(user, password) })
	if err == nil {
		g.Authed = true
		return ""
	}
	if !errors.Is(err, ErrWrongPassword) {
		g.refusals++
		g.Quit = true
		return "ERR " + err.Error()
	}
	g.guesses++
	g.Quit = g.guesses >= MaxGuesses
	return errWrongPair
}

func (p *Passwords) right(user, password string) bool {
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(got[:], p.hash[:]) == 1 && user == User
}

// Hello is what HELLO [version [AUTH user password] [SETNAME name]] asks for.
type Hello struct {
	Version int    // of the protocol; 0: as it is
	Name    string // of the client
	Named   bool   // Name is given

	user, password string
	login          bool
}

// ParseHello reads the command. Otherwise refusal is the answer.
func ParseHello(args []string) (h Hello, refusal string) {
	if len(args) > 1 {
		version, err := strconv.ParseInt(args[1], 10, 64)
		switch {
		case err != nil:
			return h, "ERR Protocol version is not an integer or out of range"
		case version < 2 || version > 3:
			return h, "NOPROTO unsupported protocol version"
		}
		h.Version = int(version)
	}
	for i := 2; i < len(args); {
		switch option := strings.ToUpper(args[i]); {
		case option == "AUTH" && i+2 < len(args):
			h.user, h.password, h.login = args[i+1], args[i+2], true
			i += 3
		case option == "SETNAME" && i+1 < len(args):
			h.Name, h.Named = args[i+1], true
			if !ValidName(h.Name) {
				return h, ErrName
			}
			i += 2
		default:
			return h, "ERR Syntax error in HELLO option '" + args[i][:min(len(args[i]), 64)] + "'"
		}
	}
	return h, ""
}

// Hello logs a client in that asks for it with HELLO, and returns what refuses the command, empty where the client
// is logged in.
func (p *Passwords) Hello(ctx context.Context, g *Guest, h Hello) (refusal string) {
	if h.login {
		if refusal := p.Login(ctx, g, h.user, h.password); refusal != "" {
			// Clients take an error here for one of HELLO, try AUTH, and show that one's.
			g.Quit = g.Quit && g.refusals != 1
			return refusal
		}
	}
	if !g.Authed {
		return errHelloAuth
	}
	return ""
}

// ValidName reports whether a client may be called so.
func ValidName(name string) bool {
	const longest = 4096
	return len(name) <= longest && !strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}
