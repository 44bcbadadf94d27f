package keycopy

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestBounded wants all that servers send to pass, and what announces more than any has to end.
func TestBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"+OK\r\n:5\r\n*2\r\n$5\r\n*9999\r\n$-1\r\n":    "",
		"$" + "3\r\n\r\n$\r\n$3\r\n$99\r\n":            "",
		"*99999999999\r\n":                             `"*99999999999" where the length of a list`,
		"*1\r\n$600000000\r\n":                         `"$600000000" where the length of a value`,
		"$3\r\nabc\r\n$99999999999999999999999999\r\n": "where the length of a value",
		"$1x\r\n": "where the length of a value",
		"HTTP/1.1 400 Bad Request\r\n" + strings.Repeat("x", 70_000): "a line of more than 65536 bytes",
		"*-1\r\n%2\r\n~3\r\n": "",
	} {
		for _, step := range []int{1, 2, 7, 1000} {
			b := &bounded{}
			err := error(nil)
			for rest := []byte(text); len(rest) > 0 && err == nil; rest = rest[min(step, len(rest)):] {
				err = b.see(rest[:min(step, len(rest))])
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%.50q in steps of %d: %v", text, step, err)
			}
		}
	}
}

// FuzzBounded wants the same of a text in one piece and in two.
func FuzzBounded(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nabc\r\n$-1\r\n+OK\r\n"), 9)
	f.Add([]byte("$99999999999\r\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		at = max(0, min(at, len(text)))
		whole, parts := &bounded{}, &bounded{}
		want := whole.see(text)
		err := parts.see(text[:at])
		if err == nil {
			err = parts.see(text[at:])
		}
		if (want == nil) != (err == nil) || want == nil && (whole.skip != parts.skip ||
			!bytes.Equal(whole.line, parts.line)) {
			t.Errorf("%q: %v in one piece, %v in two at %d", text, want, err, at)
		}
	})
}

// TestCopy_HostileSource wants an error in one line, whatever a server answers.
func TestCopy_HostileSource(t *testing.T) {
	t.Parallel()
	target, d := redisServer(t)
	for _, answer := range []string{
		"*99999999999\r\n", "$99999999999\r\n", "*2\r\n", "*16000000\r\n", "$-1\r\n", "*-1\r\n", ":7\r\n", "+OK\r\n",
		"\r\n", "-ERR no\r\n", "HTTP/1.0 400 Bad Request\r\n\r\n", "\x15\x03\x03\x00\x02\x02\x50", "%1\r\n+a\r\n+b\r\n",
		"*1\r\n*1\r\n*1\r\n$1\r\nx\r\n", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", "*2\r\n$4\r\nmuch\r\n*0\r\n",
	} {
		for after := range 12 {
			source, _ := open(t, "redis://"+pretender(t, answer, after))
			err := (&Copy{From: source, To: target, Replace: true}).Run(t.Context())
			if err != nil && (strings.Contains(err.Error(), "\n") || len(testenv.Raw(err.Error())) > 0) {
				t.Errorf("%q after %d: %v", answer, after, err)
			}
			if keys := d.Keys(t.Context(), ownPrefix+"*").Val(); len(keys) > 0 {
				t.Errorf("%q after %d: there are %q", answer, after, keys)
			}
		}
	}
}

// pretender serves one hash as a Redis does for so many commands of a connection, then answers
// something else and hangs up.
func pretender(t *testing.T, answer string, after int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	replies := map[string]string{
		"hello": "-ERR unknown command\r\n", "ping": "+PONG\r\n", "pexpiretime": ":-1\r\n", "multi": "+OK\r\n",
		"scan": "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", "type": "+hash\r\n", "hlen": ":3\r\n",
		"hscan": "*2\r\n$1\r\n7\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "exec": "*-1\r\n",
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in, n := bufio.NewScanner(c), 0; in.Scan(); {
					said, known := replies[strings.ToLower(in.Text())]
					if !known {
						continue
					}
					if n++; n > after {
						said = answer
					}
					if _, err := c.Write([]byte(said)); err != nil || n > after {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
