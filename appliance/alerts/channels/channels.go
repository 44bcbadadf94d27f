// Package channels tells people of alerts: on a webhook, by Slack, Discord, Telegram or mail, or through a command. It
// sends one message once, and says why it could not; whether it is tried again is decided elsewhere.
//
// Secrets are in files of the manager that sends, which are read each time. None of them is in what an error says: what
// others answer may repeat them, and errors of connections name whole URLs, so all words go through one place that
// takes them out. Nothing follows a redirect, which would bring a secret to somewhere else.
package channels

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// patience bounds how long it takes to send a message. It is much less than alerts.ClaimFor.
	patience = 30 * time.Second
	// maxSecret bounds a file with a secret, maxAnswer what is read of an answer, and maxSaid what is shown of that, in
	// bytes.
	maxSecret, maxAnswer, maxSaid = 4 << 10, 16 << 10, 200
	// minHidden is how long a part of a URL is at the least that is taken for a secret, in bytes.
	minHidden = 6
)

// Sender sends messages. Its methods may be called at the same time.
type Sender struct {
	// From names who sends: the manager, as others see it.
	From   string
	client *http.Client
	now    func() time.Time
	roots  *x509.CertPool // of mail servers; nil: those that this machine trusts
}

// New returns a sender on a manager.
func New(from string) *Sender {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true, // there are minutes between messages
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Sender{From: from, client: client, now: time.Now}
}

// Check returns why a channel can't be used, as far as the files of its secrets tell.
func Check(c configs.Channel) error {
	for _, path := range []string{c.URLFile, c.SecretFile, c.TokenFile, c.PasswordFile} {
		if path == "" {
			continue
		}
		if _, err := new(secrets).file(path); err != nil {
			return err
		}
	}
	return nil
}

// refused is the error of a receiver that does not take a message as it is.
type refused struct{ error }

// later is the error of one that asks to be left alone for a time.
type later struct {
	error
	after time.Duration
}

// Send tells a message on a channel; nil: it was told.
func (s *Sender) Send(ctx context.Context, c configs.Channel, m alerts.Message) *alerts.Failure {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it took longer than %s", patience))
	defer cancel()
	var hide secrets
	err := s.send(ctx, c, m, &hide)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
		err = cause
	}
	f := &alerts.Failure{Why: hide.from(err), Refused: errors.As(err, new(refused))}
	if wait := (later{}); errors.As(err, &wait) {
		f.After = wait.after
	}
	return f
}

func (s *Sender) send(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	switch c.Type {
	case configs.Webhook:
		return s.webhook(ctx, c, m, hide)
	case configs.Slack:
		return s.slack(ctx, c, m, hide)
	case configs.Discord:
		return s.discord(ctx, c, m, hide)
	case configs.Telegram:
		return s.telegram(ctx, c, m, hide)
	case configs.SMTP:
		return s.mail(ctx, c, m, hide)
	case configs.Command:
		return s.command(ctx, c, m)
	}
	return fmt.Errorf("this version of crawlbox knows no channel of type %q; bring the managers to one version", c.Type)
}

// Call asks a dead man's switch to wait for another call.
func (s *Sender) Call(ctx context.Context, d configs.Deadman) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var hide secrets
	to, err := hide.url(d.URL, d.URLFile)
	if err == nil {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, to, nil); err == nil {
			err = s.do(req)
		}
	}
	if err != nil {
		return errors.New(hide.from(err))
	}
	return nil
}

// do sends a request, and returns why it was not taken.
func (s *Sender) do(req *http.Request) error {
	req.Header.Set("User-Agent", "crawlbox")
	res, err := s.client.Do(req)
	if err != nil {
		if known := (*url.Error)(nil); errors.As(err, &known) {
			err = known.Err // without the URL
		}
		return err
	}
	defer res.Body.Close()
	said, _ := bound.ReadAll(io.LimitReader(res.Body, maxAnswer), maxAnswer)
	err = fmt.Errorf("HTTP %d", res.StatusCode)
	if text := words.OneLine(strings.ToValidUTF8(string(said), "")); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("HTTP %d: it redirects elsewhere, which is not followed; write the address that it "+
			"redirects to", code)
	case slices.Contains([]int{400, 413, 415, 422}, code):
		return refused{err}
	}
	if wait, parsed := time.ParseDuration(res.Header.Get("Retry-After") + "s"); parsed == nil && wait > 0 {
		return later{err, wait}
	}
	return err
}

// secrets are what no error says.
type secrets []string

// file reads a file with a secret.
func (s *secrets) file(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%w; each manager needs the file", err)
	}
	defer file.Close()
	data, err := bound.ReadAll(io.LimitReader(file, maxSecret+1), maxSecret)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("%s does not hold one line with the secret", path)
	}
	s.add(text)
	return text, nil
}

// url returns a URL, or that in a file. What is behind its host is a secret.
func (s *secrets) url(text, path string) (string, error) {
	if path != "" {
		var err error
		if text, err = s.file(path); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", errors.New("it is no URL with http:// or https://; look at " + path)
	}
	s.add(text, u.RequestURI(), u.Path, u.RawQuery)
	s.add(strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		s.add(values...)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		s.add(password, u.User.String())
	}
	return text, nil
}

func (s *secrets) add(texts ...string) {
	for _, text := range texts {
		if len(text) >= minHidden {
			*s = append(*s, text, url.PathEscape(text), url.QueryEscape(text))
		}
	}
}

// from returns the words of an error, in one line and without secrets.
func (s secrets) from(err error) string {
	text := words.OneLine(err.Error())
	longest := slices.SortedFunc(slices.Values(s), func(a, b string) int { return len(b) - len(a) })
	for _, secret := range longest {
		text = strings.ReplaceAll(text, secret, "********")
	}
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return text
}
