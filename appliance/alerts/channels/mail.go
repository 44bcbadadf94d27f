package channels

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// maxMail bounds the words of a mail, and maxTalk what a server says in a conversation, in bytes.
	maxMail, maxTalk = 64 << 10, 256 << 10
	// maxTitle bounds the subject, in bytes.
	maxTitle = 150
)

// mail sends a message by SMTP.
func (s *Sender) mail(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	password := ""
	if c.PasswordFile != "" {
		var err error
		if password, err = hide.file(c.PasswordFile); err != nil {
			return err
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(at)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = s.talk(&talk{conn, maxTalk}, c, password, m)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// talk is a connection on which the other end may not say more than some bytes.
type talk struct {
	net.Conn
	left int
}

func (t *talk) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := t.Conn.Read(p[:min(len(p), t.left)])
	t.left -= n
	return n, err
}

func (s *Sender) talk(conn net.Conn, c configs.Channel, password string, m alerts.Message) error {
	host, _, _ := net.SplitHostPort(c.Host)
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	if c.TLS == "tls" {
		conn = tls.Client(conn, config)
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if c.TLS == "" || c.TLS == "starttls" {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return errors.New("the server offers no STARTTLS; write tls: tls where it speaks TLS at once, or tls: none")
		}
		if err := client.StartTLS(config); err != nil {
			return err
		}
	}
	if c.User != "" {
		if err := client.Auth(authOf(client, c, host, password)); err != nil {
			return fmt.Errorf("log in: %w", err)
		}
	}
	if err := client.Mail(c.From); err != nil {
		return permanent(err)
	}
	var errs []error
	for _, to := range c.To {
		if err := client.Rcpt(to); err != nil {
			errs = append(errs, fmt.Errorf("to %s: %w", to, err))
		}
	}
	if len(errs) == len(c.To) {
		return permanent(errors.Join(errs...))
	}
	w, err := client.Data()
	if err != nil {
		return permanent(err)
	}
	if _, err := w.Write(s.letter(c, m)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return permanent(err)
	}
	_ = client.Quit() // it has the mail
	return nil
}

// permanent is the error of a server that does not take what it was sent, if it is one.
func permanent(err error) error {
	if said := (*textproto.Error)(nil); errors.As(err, &said) && said.Code >= 500 {
		return refused{err}
	}
	return err
}

// authOf logs in by what the server knows.
func authOf(client *smtp.Client, c configs.Channel, host, password string) smtp.Auth {
	_, known := client.Extension("AUTH")
	if ways := strings.Fields(known); slices.Contains(ways, "LOGIN") && !slices.Contains(ways, "PLAIN") {
		return &login{c.User, password}
	}
	return smtp.PlainAuth("", c.User, password, host)
}

// login is AUTH LOGIN, which some servers know alone.
type login struct{ user, password string }

func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS {
		return "", nil, errors.New("the connection is not encrypted")
	}
	return "LOGIN", nil, nil
}

func (l *login) Next(said []byte, more bool) ([]byte, error) {
	switch {
	case !more:
		return nil, nil
	case strings.HasPrefix(strings.ToLower(string(said)), "user"):
		return []byte(l.user), nil
	case strings.HasPrefix(strings.ToLower(string(said)), "pass"):
		return []byte(l.password), nil
	}
	return nil, errors.New("the server asks for what is neither a user nor a password")
}

// letter returns the mail with its head.
func (s *Sender) letter(c configs.Channel, m alerts.Message) []byte {
	var b bytes.Buffer
	subject := title(m)
	if len(subject) > maxTitle {
		subject = strings.ToValidUTF8(subject[:maxTitle], "") + "…"
	}
	for _, line := range [][2]string{
		{"From", c.From},
		{"To", strings.Join(c.To, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"Date", s.now().Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.ID + "." + c.Name + "@crawlbox.invalid>"}, // the same where it is sent again
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", line[0], line[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(w, strings.ReplaceAll(lines(m, s.From, maxMail, asIs), "\n", "\r\n")+"\r\n")
	_ = w.Close()
	return b.Bytes()
}
