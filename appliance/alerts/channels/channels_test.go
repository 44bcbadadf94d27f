package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/configs"
)

// sometime is when messages of these tests are.
var sometime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// some is a message with words that play tricks.
func some() alerts.Message {
	return alerts.Message{
		ID: "20260601-120000-7", Channel: "ops", At: sometime,
		Items: []alerts.Item{{
			Status: alerts.Firing,
			Fact: alerts.Fact{
				Rule: "run-failed", Subject: "nightly", Severity: alerts.Bad,
				Text: "<!channel> @everyone $(id) [here](//x)",
			},
			Since: sometime,
		}, {
			Status: alerts.Resolved,
			Fact:   alerts.Fact{Rule: "node-down", Subject: "h2", Severity: alerts.Bad, Text: "node h2 is down"},
			Since:  sometime.Add(-time.Hour), Ended: sometime,
		}},
	}
}

// receiver is an HTTP server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	path   string
	header http.Header
	body   []byte
	answer func(http.ResponseWriter, *http.Request)
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.path, r.header = req.URL.RequestURI(), req.Header
		r.body, _ = io.ReadAll(req.Body)
		if r.answer != nil {
			r.answer(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got(t *testing.T) map[string]any {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var v map[string]any
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Errorf("got %q: %v", r.body, err)
	}
	return v
}

// file writes a secret.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sender() *Sender {
	s := New("h1")
	s.now = func() time.Time { return sometime }
	return s
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := configs.Channel{Name: "ops", Type: configs.Webhook, URL: r.URL + "/hook?x=1", SecretFile: file(t, "hush-hush")}
	if f := sender().Send(t.Context(), c, some()); f != nil {
		t.Fatal(f)
	}
	v := r.got(t)
	list, _ := v["alerts"].([]any)
	if v["id"] != "20260601-120000-7" || v["from"] != "h1" || len(list) != 2 ||
		v["title"] != "crawlbox: 2 alerts, 1 new, 1 over" || r.path != "/hook?x=1" {
		t.Errorf("got %v at %s", v, r.path)
	}
	one, _ := list[1].(map[string]any)
	if one["status"] != "resolved" || one["rule"] != "node-down" || one["subject"] != "h2" || one["ended"] == nil {
		t.Errorf("got %v", one)
	}
	at := r.header.Get("X-Crawlbox-Timestamp")
	if at != fmt.Sprint(sometime.Unix()) || r.header.Get("Idempotency-Key") != "20260601-120000-7" ||
		r.header.Get("X-Crawlbox-Signature") != "sha256="+Sign("hush-hush", at, r.body) {
		t.Errorf("got %v", r.header)
	}
	// HMAC-SHA256 of "1.{}" by "key", as openssl has it.
	const want = "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
	if got := Sign("key", "1", []byte("{}")); got != want {
		t.Errorf("the signature is %s", got)
	}
}

func TestChats(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	url := file(t, r.URL+"/services/T00/B00/xoxb-secret")
	for kind, tc := range map[string]struct {
		c          configs.Channel
		path, text string
	}{
		configs.Slack:   {configs.Channel{URLFile: url}, "/services/T00/B00/xoxb-secret", "text"},
		configs.Discord: {configs.Channel{URLFile: url}, "/services/T00/B00/xoxb-secret", "content"},
		configs.Telegram: {
			configs.Channel{URL: r.URL, TokenFile: file(t, "12:AbC"), Chat: "-100"}, "/bot12:AbC/sendMessage", "text",
		},
	} {
		tc.c.Type = kind
		if f := sender().Send(t.Context(), tc.c, some()); f != nil {
			t.Errorf("%s: %+v", kind, f)
			continue
		}
		v := r.got(t)
		text, _ := v[tc.text].(string)
		if r.path != tc.path || !strings.Contains(text, "run-failed nightly") ||
			!strings.Contains(text, "over: node-down h2") {
			t.Errorf("%s: got %v at %s", kind, v, r.path)
		}
		switch kind {
		case configs.Slack:
			if strings.Contains(text, "<!") || !strings.Contains(text, "&lt;!channel&gt;") {
				t.Errorf("it calls people: %s", text)
			}
		case configs.Discord:
			if is, _ := json.Marshal(v["allowed_mentions"]); string(is) != `{"parse":[]}` {
				t.Errorf("it calls people: %s", is)
			}
			if !strings.Contains(text, `\<!channel> @everyone $(id) \[here\](//x)`) {
				t.Errorf("it has links: %s", text)
			}
		case configs.Telegram:
			if v["chat_id"] != "-100" || v["parse_mode"] != nil {
				t.Errorf("got %v", v)
			}
		}
	}
}

// TestLong: each service gets as much as it takes, and is told of the rest.
func TestLong(t *testing.T) {
	t.Parallel()
	m := some()
	for len(m.Items) < 100 {
		m.Items = append(m.Items, alerts.Item{Status: alerts.Firing, Fact: alerts.Fact{
			Rule: "run-failed", Subject: fmt.Sprint("nightly-", len(m.Items)), Text: strings.Repeat("é", 150),
		}})
	}
	m.More = 400
	for _, most := range []int{maxDiscord, maxTelegram, maxSlack, maxMail} {
		text := lines(m, "h1", most, asIs)
		if len(text) > most || !strings.Contains(text, "500 alerts") ||
			!strings.Contains(text, " more; `crawlbox alerts ls`") {
			t.Errorf("%d: %d bytes: %s", most, len(text), text)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "alerts") // which nobody gets to
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := configs.Channel{Type: configs.Command, Run: "cd " + dir + "; cat > got; id -un > who; env > env"}
	if f := sender().Send(t.Context(), c, some()); f != nil {
		t.Fatal(f)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var v Body
	if err := json.Unmarshal([]byte(read("got")), &v); err != nil || v.ID != some().ID || len(v.Alerts) != 2 {
		t.Errorf("got %+v, %v", v, err)
	}
	if who := strings.TrimSpace(read("who")); os.Getuid() == 0 && who != nobody {
		t.Errorf("it runs as %s", who)
	}
	if env := read("env"); strings.Contains(env, "everyone") || !strings.Contains(env, "CRAWLBOX_ALERT_ID="+some().ID) {
		t.Errorf("it has %s", env)
	}
	c.Run = "echo no pager >&2; exit 3"
	if f := sender().Send(t.Context(), c, some()); f == nil || f.Why != "exit status 3 (no pager)" {
		t.Errorf("got %+v", f)
	}
	c.Run = "sleep 1000 & exit 0"
	if f := sender().Send(t.Context(), c, some()); f != nil {
		t.Errorf("with something left that has its output open: %+v", f)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, fmt.Errorf("it took too long"))
	defer cancel()
	c.Run = "sleep 1000 & sleep 1000"
	if f := sender().Send(ctx, c, some()); f == nil || f.Why != "it took too long" {
		t.Errorf("got %+v", f)
	}
	c.User = "no-such-user"
	if f := sender().Send(t.Context(), c, some()); f == nil || !strings.Contains(f.Why, "no-such-user") {
		t.Errorf("got %+v", f)
	}
}

// TestAnswers: what a receiver says is why, and what it means for another try.
func TestAnswers(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	elsewhere := newReceiver(t)
	c := configs.Channel{Type: configs.Webhook, URL: r.URL + "/x"}
	for name, tc := range map[string]struct {
		answer  func(http.ResponseWriter, *http.Request)
		why     string
		refused bool
		after   time.Duration
	}{
		"down": {
			func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "no\nway", http.StatusServiceUnavailable)
			}, "HTTP 503: no way", false, 0,
		},
		"bad": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, "HTTP 400", true, 0},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(429)
		}, "HTTP 429", false, 30 * time.Second},
		"elsewhere": {func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere.URL+"/caught", http.StatusTemporaryRedirect)
		}, "it redirects elsewhere", false, 0},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			for range 1000 {
				fmt.Fprint(w, strings.Repeat("x", 1000))
			}
		}, "HTTP 500: xxx", false, 0},
	} {
		r.mu.Lock()
		r.answer = tc.answer
		r.mu.Unlock()
		f := sender().Send(t.Context(), c, some())
		if f == nil || !strings.Contains(f.Why, tc.why) || f.Refused != tc.refused || f.After != tc.after ||
			len(f.Why) > maxSaid+3 {
			t.Errorf("%s: got %+v", name, f)
		}
	}
	if elsewhere.path != "" {
		t.Errorf("the redirect was followed to %s", elsewhere.path)
	}
}

// TestSecrets: no error of a channel has a secret of it, whatever fails, and whatever the other end says.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-T0ken/+x"
	r := newReceiver(t)
	r.answer = func(w http.ResponseWriter, q *http.Request) { // who repeats all that he is told
		w.Header().Set("Location", q.URL.String())
		http.Error(w, q.URL.Path+" "+q.URL.RawQuery+" "+secret, http.StatusForbidden)
	}
	down := httptest.NewServer(nil)
	down.Close()
	bad := "http://[::1]:x/" + secret
	for _, base := range []string{r.URL, down.URL, "http://user:" + "s3cr3t-T0ken@127.0.0.1:1", "http://no.invalid"} {
		for name, c := range map[string]configs.Channel{
			"webhook": {
				Type: configs.Webhook, URLFile: file(t, base+"/"+secret+"?key="+secret), SecretFile: file(t, secret),
			},
			"url":      {Type: configs.Webhook, URL: base + "/" + secret},
			"bad":      {Type: configs.Webhook, URLFile: file(t, bad)},
			"slack":    {Type: configs.Slack, URLFile: file(t, base+"/services/"+secret)},
			"discord":  {Type: configs.Discord, URLFile: file(t, base+"/api/"+secret)},
			"telegram": {Type: configs.Telegram, URL: base, TokenFile: file(t, secret), Chat: "1"},
			"smtp": {
				Type: configs.SMTP, Host: "127.0.0.1:1", From: "a@b", To: []string{"c@d"}, User: "u",
				PasswordFile: file(t, secret),
			},
		} {
			f := sender().Send(t.Context(), c, some())
			if f == nil {
				t.Errorf("%s of %s was told", name, base)
				continue
			}
			for _, part := range []string{"s3cr3t", "T0ken"} {
				if strings.Contains(f.Why, part) {
					t.Errorf("%s of %s tells %q", name, base, f.Why)
				}
			}
		}
		err := sender().Call(t.Context(), configs.Deadman{URLFile: file(t, base+"/"+secret)})
		if err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the dead man's switch of %s tells %v", base, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "lines": secret + "\n" + secret, "long": strings.Repeat("x", 5000),
	} {
		f := sender().Send(t.Context(), configs.Channel{Type: configs.Slack, URLFile: file(t, text)}, some())
		if f == nil || strings.Contains(f.Why, "s3cr3t") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	f := sender().Send(t.Context(), configs.Channel{Type: configs.Slack, URLFile: "/nowhere"}, some())
	if f == nil || !strings.Contains(f.Why, "open /nowhere: no such file or directory; each manager needs the file") {
		t.Errorf("got %+v", f)
	}
}

// TestCheck: a channel whose files are not there can't be used.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, empty := filepath.Join(dir, "good"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{good: "hush\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		channel configs.Channel
		why     string
	}{
		{configs.Channel{Type: configs.Webhook, URL: "https://example.com", SecretFile: good}, ""},
		{configs.Channel{Type: configs.Slack, URLFile: filepath.Join(dir, "none")}, "each manager needs the file"},
		{configs.Channel{Type: configs.Telegram, TokenFile: empty}, "does not hold one line"},
		{configs.Channel{Type: configs.SMTP, PasswordFile: dir}, "read " + dir},
	} {
		err := Check(c.channel)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%+v: %v, want %q", c.channel, err, c.why)
		}
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	if err := sender().Call(t.Context(), configs.Deadman{URL: r.URL + "/ping"}); err != nil || r.path != "/ping" {
		t.Errorf("got %v at %q", err, r.path)
	}
}
