package channels

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/configs"
)

// How long a message may be, in bytes, by what the services document.
const (
	maxSlack    = 12000
	maxDiscord  = 1900
	maxTelegram = 4000
)

// Body is what a webhook and a command get, as JSON.
type Body struct {
	ID     string        `json:"id"`   // of the message: one that is sent again has the same
	From   string        `json:"from"` // the manager that sends it
	At     time.Time     `json:"at"`
	Test   bool          `json:"test,omitempty"`
	Title  string        `json:"title"`
	Alerts []alerts.Item `json:"alerts"`
	More   int           `json:"more,omitempty"` // alerts that are not listed
}

func (s *Sender) body(m alerts.Message) ([]byte, error) {
	items := m.Items
	if items == nil {
		items = []alerts.Item{}
	}
	return json.Marshal(Body{m.ID, s.From, m.At, m.Test, title(m), items, m.More})
}

func (s *Sender) webhook(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	to, err := hide.url(c.URL, c.URLFile)
	if err != nil {
		return err
	}
	data, err := s.body(m)
	if err != nil {
		return err
	}
	header := http.Header{"Idempotency-Key": {m.ID}}
	if c.SecretFile != "" {
		key, err := hide.file(c.SecretFile)
		if err != nil {
			return err
		}
		at := strconv.FormatInt(s.now().Unix(), 10)
		header.Set("X-Crawlbox-Timestamp", at)
		header.Set("X-Crawlbox-Signature", "sha256="+Sign(key, at, data))
	}
	return s.post(ctx, to, data, header)
}

// Sign returns the signature of what a webhook gets at a time: HMAC-SHA256 of TIME.BODY, as hexadecimal digits.
func Sign(key, at string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(at + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func (s *Sender) post(ctx context.Context, to string, data []byte, header http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(data))
	if err != nil {
		return err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	return s.do(req)
}

func (s *Sender) postJSON(ctx context.Context, to string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.post(ctx, to, data, nil)
}

// forSlack keeps a text from naming people and channels.
var forSlack = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (s *Sender) slack(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	to, err := hide.url("", c.URLFile)
	if err != nil {
		return err
	}
	return s.postJSON(ctx, to, map[string]any{
		"text":         lines(m, s.From, maxSlack, forSlack.Replace),
		"unfurl_links": false, // nothing is fetched that a spider wrote
		"unfurl_media": false,
	})
}

// forDiscord keeps a text from making links that lead elsewhere than they say, and names.
var forDiscord = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "<", `\<`)

// noPreviews is a flag of Discord's messages.
const noPreviews = 1 << 2

func (s *Sender) discord(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	to, err := hide.url("", c.URLFile)
	if err != nil {
		return err
	}
	return s.postJSON(ctx, to, map[string]any{
		"content":          lines(m, s.From, maxDiscord, forDiscord.Replace),
		"flags":            noPreviews,
		"allowed_mentions": map[string]any{"parse": []string{}}, // nobody
	})
}

// telegramAPI is where bots speak.
const telegramAPI = "https://api.telegram.org"

func (s *Sender) telegram(ctx context.Context, c configs.Channel, m alerts.Message, hide *secrets) error {
	token, err := hide.file(c.TokenFile)
	if err != nil {
		return err
	}
	api := telegramAPI
	if c.URL != "" {
		api = strings.TrimSuffix(c.URL, "/")
	}
	to, err := hide.url(api+"/bot"+token+"/sendMessage", "")
	if err != nil {
		return err
	}
	return s.postJSON(ctx, to, map[string]any{
		"chat_id":                  c.Chat,
		"text":                     lines(m, s.From, maxTelegram, asIs),
		"disable_web_page_preview": true,
	})
}
