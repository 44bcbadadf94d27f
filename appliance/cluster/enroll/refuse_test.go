package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// with returns the join token for a token.
func (m *manager) with(c token.Issued) token.JoinToken {
	return token.JoinToken{
		Role:     c.Role,
		Managers: []netip.AddrPort{m.addr},
		CA:       m.CA.Hash(),
		Token:    c.ID,
		Secret:   c.Secret,
		Expires:  c.Expires,
	}
}

// typed returns the string after it was printed, pasted and read.
func typed(t *testing.T, s token.JoinToken) token.JoinToken {
	t.Helper()
	got, err := token.Parse(reveal(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestJoin_EachRefusalHasItsMessage(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	good := m.with(issue(t, m.Tokens, fleet.RoleWorker, 0, 0))
	once, old, revoked := issue(t, m.Tokens, fleet.RoleWorker, 0,
		1), issue(t, m.Tokens, fleet.RoleWorker, time.Hour, 0), issue(t, m.Tokens, fleet.RoleWorker, 0, 0)
	if _, err := Join(t.Context(), t.TempDir(), m.with(once), worker, testLog(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Tokens.Revoke(revoked.ID); err != nil {
		t.Fatal(err)
	}
	m.expire(t, slices.IndexFunc(m.Tokens.List(), func(t token.Info) bool { return t.ID == old.ID }))
	secret, unknown, role, ca := good, good, good, good
	secret.Secret[3] ^= 1
	unknown.Token = "zzzzzzzz"
	role.Role = fleet.RoleManager
	ca.CA[3] ^= 1
	said := map[string]string{}
	for name, tt := range map[string]struct {
		s    token.JoinToken
		want error
		tell string
	}{
		"used up":        {m.with(once), token.ErrUsedUp, "reached its use limit"},
		"expired":        {m.with(old), token.ErrExpiredToken, "has expired"},
		"revoked":        {m.with(revoked), token.ErrRevoked, "was revoked"},
		"wrong role":     {role, token.ErrWrongRole, "another role"},
		"altered secret": {secret, token.ErrBadSecret, "secret in the join token is wrong"},
		"altered token":  {unknown, token.ErrUnknownToken, "does not know this join token"},
		"altered CA":     {ca, ErrImpostor, "CA fingerprint mismatch"},
	} {
		_, err := Join(t.Context(), t.TempDir(), typed(t, tt.s), worker, testLog(t))
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.tell) ||
			!strings.Contains(err.Error(), "crawlbox token") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if other := said[err.Error()]; other != "" {
			t.Errorf("%s and %s have one message: %v", name, other, err)
		}
		said[err.Error()] = name
	}
}

func TestJoin_AsManyAsTheStringMay(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	s := typed(t, m.with(issue(t, m.Tokens, fleet.RoleWorker, time.Hour, 50)))
	dirs, errs := make([]string, 51), make([]error, 51)
	var joins sync.WaitGroup
	for i := range dirs {
		dirs[i] = t.TempDir()
		joins.Go(func() { _, errs[i] = Join(t.Context(), dirs[i], s, worker, testLog(t)) })
	}
	joins.Wait()
	refused, joined := 0, ""
	for i, err := range errs {
		switch {
		case err == nil:
			joined = dirs[i]
		case errors.Is(err, token.ErrUsedUp):
			refused++
		default:
			t.Error(err)
		}
	}
	if refused != 1 {
		t.Fatalf("%d of 51 were refused, want 1", refused)
	}
	if err := os.Remove(filepath.Join(joined, pki.IdentityFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), joined, s, worker, testLog(t)); err != nil {
		t.Errorf("a node that was cut off before it had its answer: %v", err)
	}
}

// recorder keeps all bytes that come in on a connection.
type recorder struct {
	net.Conn
	got bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got.Write(p[:n])
	return n, err
}

// records returns type and length of each TLS record.
func records(data []byte) (list [][2]int) {
	for len(data) >= 5 {
		size := int(data[3])<<8 | int(data[4])
		list = append(list, [2]int{int(data[0]), size})
		data = data[min(len(data), 5+size):]
	}
	return list
}

// TestJoin_ImpostorGetsAHelloOnly looks at the bytes on the wire.
func TestJoin_ImpostorGetsAHelloOnly(t *testing.T) {
	t.Parallel()
	m, mallory := startManager(t, nil), startManager(t, nil)
	altered := m.string(t, fleet.RoleWorker)
	altered.CA[0] ^= 1
	for name, tt := range map[string]struct {
		s    token.JoinToken
		cert *tls.Certificate
	}{
		"impostor":       {m.string(t, fleet.RoleWorker), mallory.id.Certificate()},
		"altered string": {altered, m.id.Certificate()},
	} {
		listener, addr := listen(t)
		received := make(chan *recorder, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				close(received)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			r := &recorder{Conn: conn}
			_, _ = io.Copy(io.Discard, tls.Server(r, &tls.Config{Certificates: []tls.Certificate{*tt.cert}}))
			_, _ = io.Copy(io.Discard, r) // what TLS did not want
			received <- r
		}()
		tt.s.Managers = []netip.AddrPort{addr}
		if _, err := Join(t.Context(), t.TempDir(), tt.s, worker, testLog(t)); !errors.Is(err, ErrImpostor) {
			t.Errorf("%s: %v", name, err)
		}
		r, ok := <-received
		if !ok {
			t.Fatalf("%s: nobody came", name)
		}
		got := records(r.got.Bytes())
		const hello, changeCipher, sealed, sealedAlert = 22, 20, 23, 2 + 1 + 16 // RFC 8446, 5.1 and 5.2
		if len(got) == 0 || got[0][0] != hello {
			t.Errorf("%s: no ClientHello first: %v", name, got)
			continue
		}
		for _, rec := range got[1:] {
			if rec != [2]int{changeCipher, 1} && rec != [2]int{sealed, sealedAlert} {
				t.Errorf("%s: after its ClientHello it sent more than an alert: records %v", name, got)
			}
		}
		for what, secret := range map[string]string{
			"secret": string(tt.s.Secret[:]),
			"token":  tt.s.Token,
			"name":   worker.Name,
		} {
			if strings.Contains(r.got.String(), secret) {
				t.Errorf("%s: it received the %s", name, what)
			}
		}
	}
}

func TestParse_AlteredStringGivesNothingToDial(t *testing.T) {
	t.Parallel()
	text := reveal(t, testToken())
	for i := range len(text) {
		c := "7"
		if text[i] == '7' {
			c = "8"
		}
		if s, err := token.Parse(text[:i] + c + text[i+1:]); err == nil || len(s.Managers) > 0 ||
			s.Secret != (token.Secret{}) {
			t.Errorf("character %d altered: %v, %v", i, s, err)
		}
	}
}

// A skew that is not so large that certificates are out of date is only worth a
// warning.
func TestJoin_WarnsOfSkew(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	for name, tt := range map[string]struct {
		clock time.Duration // of the manager, relative to this machine's
		want  string
	}{
		"behind": {30 * time.Minute, "clock is 30m0s behind the manager's"},
		"ahead":  {-30 * time.Minute, "clock is 30m0s ahead of the manager's"},
		"agrees": {time.Minute, ""},
	} {
		listener, addr := listen(t)
		serve(t, tls.NewListener(listener, m.id.ServerTLS()), atAnotherTime(handlerOf(m.Server), tt.clock))
		s := m.string(t, fleet.RoleWorker)
		s.Managers = []netip.AddrPort{addr}
		var log bytes.Buffer
		if _, err := Join(t.Context(), t.TempDir(), s, worker, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := log.String()
		for _, near := range []string{"29m58s", "29m59s", "30m1s", "30m2s"} { // the test takes time itself
			got = strings.ReplaceAll(got, near, "30m0s")
		}
		if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: logged %q, want %q", name, got, tt.want)
		}
	}
}

// atAnotherTime changes what a manager tells of its clock.
func atAnotherTime(h http.Handler, clock time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		var fields map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &fields); err != nil {
			http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
			return
		}
		fields["time"] = time.Now().Add(clock)
		w.WriteHeader(rec.Code)
		_ = json.NewEncoder(w).Encode(fields)
	})
}

func TestFinal(t *testing.T) {
	t.Parallel()
	through := func(errs ...error) error {
		e := &ManagersError{}
		for _, err := range errs {
			e.Tries = append(e.Tries, Try{Err: err})
		}
		return fmt.Errorf("join: %w", e)
	}
	for _, err := range []error{pki.ErrNotJoined, through(
		token.ErrRevoked), through(ErrUnavailable, token.ErrBadSecret)} {
		if !Final(err) {
			t.Errorf("%v passes by itself", err)
		}
	}
	for _, err := range []error{nil, context.DeadlineExceeded, ErrTooMany, ErrClock, through(ErrUnavailable,
		ErrVersion)} {
		if Final(err) {
			t.Errorf("%v is for good", err)
		}
	}
}
