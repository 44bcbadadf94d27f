package channels

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/configs"
)

// mailServer is Debian's aiosmtpd, as a mail server that keeps what it gets: one file for each mail.
const mailServer = `
import asyncio, os, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
at, cert, key, way = sys.argv[1:5]
class Keep:
    n = 0
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        Keep.n += 1
        path = os.path.join(at, "mail-%d" % Keep.n)
        with open(path + ".new", "wb") as f:
            f.write((",".join(envelope.rcpt_tos) + "\n").encode() + envelope.content)
        os.rename(path + ".new", path)
        return "250 OK"
def login(server, session, envelope, mechanism, data):
    ok = data.login == b"crawlbox" and data.password == b"hush-hush-hush"
    return AuthResult(success=ok, handled=False)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
def factory():
    return SMTP(Keep(), hostname="test", tls_context=context if way == "starttls" else None,
        require_starttls=way == "starttls", authenticator=login, auth_required=way != "none",
        auth_exclude_mechanism=["PLAIN"] if way == "tls" else [], auth_require_tls=way == "starttls")
async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context if way == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
asyncio.run(serve())
`

// serveMail starts one that speaks TLS in a way, and returns where it is and where it keeps mails.
func serveMail(t *testing.T, way string) (addr, dir, ca string) {
	t.Helper()
	dir = t.TempDir()
	cert, key := selfSigned(t, dir)
	cmd := exec.Command("/usr/bin/python3", "-c", mailServer, dir, cert, key, way)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("python3-aiosmtpd is needed, see .ci/deps: %v", err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the mail server has not begun: %v", err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port), dir, cert
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// TestMail sends to a real mail server, with TLS in each way, and logs in by what that knows.
func TestMail(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"none", "starttls", "tls"} {
		addr, dir, ca := serveMail(t, way)
		s := sender()
		s.roots = x509.NewCertPool()
		text, err := os.ReadFile(ca)
		if err != nil || !s.roots.AppendCertsFromPEM(text) {
			t.Fatal(err)
		}
		c := configs.Channel{
			Name: "mail", Type: configs.SMTP, Host: addr, TLS: way, From: "crawlbox@example.com",
			To: []string{"ops@example.com", "nobody@example.com"},
		}
		if way != "none" {
			c.User, c.PasswordFile = "crawlbox", file(t, "hush-hush-hush")
		}
		if f := s.Send(t.Context(), c, some()); f != nil {
			t.Errorf("%s: %+v", way, f)
			continue
		}
		got, err := os.Open(filepath.Join(dir, "mail-1"))
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		in := bufio.NewReader(got)
		to, _ := in.ReadString('\n')
		m, err := mail.ReadMessage(in)
		if err != nil {
			t.Fatal(err)
		}
		words, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		subject, err2 := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || err2 != nil || to != "ops@example.com\n" || subject != "crawlbox: 2 alerts, 1 new, 1 over" ||
			m.Header.Get("Message-ID") != "<20260601-120000-7.mail@crawlbox.invalid>" ||
			!strings.Contains(string(words), "• run-failed nightly: <!channel> @everyone $(id)") {
			t.Errorf("%s: %q got %v\n%s", way, to, m.Header, words)
		}
		c.To = []string{"nobody@example.com"}
		if f := s.Send(t.Context(), c, some()); f == nil || !f.Refused || !strings.Contains(f.Why, "no such user") {
			t.Errorf("%s: nobody got %+v", way, f)
		}
		if way == "none" {
			c.TLS = ""
			if f := s.Send(t.Context(), c, some()); f == nil || !strings.Contains(f.Why, "no STARTTLS") {
				t.Errorf("without STARTTLS: %+v", f)
			}
			continue
		}
		c.PasswordFile = file(t, "another-secret")
		if f := s.Send(t.Context(), c, some()); f == nil || strings.Contains(fmt.Sprint(f), "another") ||
			!strings.HasPrefix(f.Why, "log in: ") {
			t.Errorf("%s: a wrong password: %+v", way, f)
		}
		s.roots = x509.NewCertPool()
		if f := s.Send(t.Context(), c, some()); f == nil || !strings.Contains(f.Why, "certificate") {
			t.Errorf("%s: a server that nobody knows: %+v", way, f)
		}
	}
}
