package configs

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/configs/document"
)

// alertsKey is where alerts stand in the file. viper never sees them: it folds the case of keys.
const alertsKey = "alerts"

// Alerts says what is told, and where to. Without channels nothing is.
type Alerts struct {
	Channels []Channel   // sorted by name
	Rules    []AlertRule // those that are not as by default, sorted by name

	Wait   time.Duration // how long the first alert waits for others to be told with; default 30s
	Settle time.Duration // how long all has to be well before an alert is over; default 5m
	Repeat time.Duration // how often what goes on is told; default 12h

	Deadman Deadman
}

// Deadman is what is called while the cluster is well.
type Deadman struct {
	URL, URLFile string        // one of them; both empty, the default: nothing is called
	Every        time.Duration // default 1m
}

// Types of channels.
const (
	Webhook  = "webhook"
	Slack    = "slack"
	Discord  = "discord"
	Telegram = "telegram"
	SMTP     = "smtp"
	Command  = "command"
)

// Channel is where alerts are told. Files are absolute: the manager that leads reads its own.
type Channel struct {
	Name string
	Type string

	URL, URLFile string // of Webhook, Slack and Discord, one of them; of Telegram: its API, if it is another
	SecretFile   string // of Webhook: signs what is sent; empty: nothing does
	TokenFile    string // of Telegram's bot
	Chat         string // of Telegram

	Host         string // of SMTP, as HOST:PORT
	TLS          string // of SMTP: starttls, the default, tls or none
	From         string // of SMTP
	To           []string
	User         string // of SMTP, which is empty where it wants none, and of Command
	PasswordFile string

	Run string // of Command: a line for the shell, as User; that is empty: nobody
}

// Rules of alerts.
const (
	RunFailed     = "run-failed"
	RunTimedOut   = "run-timed-out"
	RunNotStarted = "run-not-started"
	RunMissed     = "run-missed"
	RunEmpty      = "run-empty"
	RunFewItems   = "run-few-items"
	RunSlow       = "run-slow"
	CrashLoop     = "crash-loop"
	Rollback      = "rollback"
	NodeDown      = "node-down"
	DiskLow       = "disk-low"
	ClockOff      = "clock-off"
	QueueDown     = "queue-down"
	QueueStuck    = "queue-stuck"
	QueueDead     = "queue-dead"
	BackupOld     = "backup-old"
	Quorum        = "quorum"
)

// Limits of rules that have one, by default: a share, times, or a duration.
var limits = map[string]float64{
	RunFewItems:   0.5,
	RunSlow:       2,
	DiskLow:       0.1,
	RunNotStarted: (10 * time.Minute).Seconds(),
	QueueStuck:    (6 * time.Hour).Seconds(),
	BackupOld:     (24 * time.Hour).Seconds(),
	ClockOff:      (10 * time.Second).Seconds(),
}

// AlertRules are all rules, in the order of the manual.
var AlertRules = []string{
	RunFailed, RunTimedOut, RunNotStarted, RunMissed, RunEmpty, RunFewItems, RunSlow, CrashLoop, Rollback, NodeDown,
	DiskLow, ClockOff, QueueDown, QueueStuck, QueueDead, BackupOld, Quorum,
}

// AlertRule is a rule that somebody has changed.
type AlertRule struct {
	Name  string
	Off   bool
	To    []string // names of channels; nil: all
	Limit float64  // a share, times, or seconds; 0: the default
}

// Limit returns that of a rule.
func (a Alerts) Limit(rule string) float64 {
	if r, ok := a.rule(rule); ok && r.Limit > 0 {
		return r.Limit
	}
	return limits[rule]
}

// Span returns the limit of a rule that is a duration.
func (a Alerts) Span(rule string) time.Duration {
	return time.Duration(a.Limit(rule) * float64(time.Second))
}

// To returns the names of the channels that a rule is told on.
func (a Alerts) To(rule string) (names []string) {
	r, _ := a.rule(rule)
	for _, c := range a.Channels {
		if !r.Off && (r.To == nil || slices.Contains(r.To, c.Name)) {
			names = append(names, c.Name)
		}
	}
	return names
}

func (a Alerts) rule(name string) (AlertRule, bool) {
	i := slices.IndexFunc(a.Rules, func(r AlertRule) bool { return r.Name == name })
	if i < 0 {
		return AlertRule{}, false
	}
	return a.Rules[i], true
}

// IsZero reports whether nothing is said of alerts.
func (a Alerts) IsZero() bool {
	return len(a.Channels)+len(a.Rules) == 0 && a.Deadman.URL == "" && a.Deadman.URLFile == ""
}

func defaultAlerts() Alerts {
	return Alerts{
		Wait:    30 * time.Second,
		Settle:  5 * time.Minute,
		Repeat:  12 * time.Hour,
		Deadman: Deadman{Every: time.Minute},
	}
}

const (
	// maxChannels bounds the channels: each alert is kept once for each until it is told there.
	maxChannels = 10
	// maxChannelName bounds the name of one.
	maxChannelName = 40
)

// alertsReader reads what is below alerts.
type alertsReader struct{ *document.Problems }

// readAlerts returns what a file says of alerts.
func readAlerts(root *yaml.Node, p *document.Problems) Alerts {
	a, r := defaultAlerts(), alertsReader{p}
	for _, e := range document.Entries(root) {
		if e.Name != alertsKey || document.IsNull(e.Value) {
			continue
		}
		var rules document.Entry
		r.mapping(alertsKey, e, map[string]func(document.Entry) error{
			"channels": func(e document.Entry) error { a.Channels = r.channels(e); return nil },
			"rules":    func(e document.Entry) error { rules = e; return nil },
			"deadman":  func(e document.Entry) error { r.deadman(&a.Deadman, e); return nil },
			"wait":     within(&a.Wait, time.Second, time.Hour),
			"settle":   within(&a.Settle, time.Second, 24*time.Hour),
			"repeat":   within(&a.Repeat, time.Minute, 30*24*time.Hour),
		})
		if rules.Value != nil {
			a.Rules = r.rules(a, rules)
		}
	}
	return a
}

// mapping reads a mapping by its keys, and reports whether it could.
func (r alertsReader) mapping(place string, e document.Entry, keys map[string]func(document.Entry) error) bool {
	if e.Value.Kind != yaml.MappingNode {
		names := slices.Sorted(maps.Keys(keys))
		r.Addf(e.Line, "%s: must be a mapping with %s, not %s", place, strings.Join(names, ", "),
			document.What(e.Value))
		return false
	}
	whole := true
	for _, key := range document.Entries(e.Value) {
		set, known := keys[key.Name]
		switch {
		case !known:
			var all []string
			for name := range keys {
				all = append(all, place+"."+name)
			}
			r.Addf(key.Line, "%s", document.UnknownKey(place+"."+key.Name, all, nil))
			whole = false
		case document.IsNull(key.Value):
		default:
			if err := set(key); err != nil {
				r.Addf(key.Line, "%s.%s: %s", place, key.Name, err)
				whole = false
			}
		}
	}
	return whole
}

// one sets a field to a text or a number.
func one(f field) func(document.Entry) error {
	set := scalar(f)
	return func(e document.Entry) error { return set(e.Value) }
}

func within(p *time.Duration, least, most time.Duration) func(document.Entry) error {
	return one(bind(p, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return 0, fmt.Errorf("must be a duration from %s to %s, not %q", least, most, s)
		}
		return d, nil
	}, time.Duration.String))
}

// absolute is a path that means the same on every manager.
func absolute(p *string) func(document.Entry) error {
	return one(checked(p, func(s string) error {
		if !filepath.IsAbs(s) {
			return fmt.Errorf("must be an absolute path, as each manager reads its own file, not %q", s)
		}
		return nil
	}))
}

func webAddress(p *string) func(document.Entry) error {
	return one(checked(p, func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("must be a URL with http:// or https://") // which may have a secret
		}
		return nil
	}))
}

func (r alertsReader) deadman(d *Deadman, e document.Entry) {
	place := alertsKey + ".deadman"
	if r.mapping(place, e, map[string]func(document.Entry) error{
		"url":      webAddress(&d.URL),
		"url_file": absolute(&d.URLFile),
		"every":    within(&d.Every, 10*time.Second, time.Hour),
	}) && (d.URL == "") == (d.URLFile == "") {
		r.Addf(e.Line, "%s: say url or url_file, which is called while the cluster is well", place)
	}
}

func (r alertsReader) channels(e document.Entry) (list []Channel) {
	place := alertsKey + ".channels"
	if e.Value.Kind != yaml.MappingNode {
		r.Addf(e.Line, "%s: must be a mapping of names to channels, not %s", place, document.What(e.Value))
		return nil
	}
	for _, one := range document.Entries(e.Value) {
		list = append(list, r.channel(place+"."+one.Name, one))
	}
	if len(list) > maxChannels {
		r.Addf(e.Line, "%s: there are %d, more than %d", place, len(list), maxChannels)
	}
	slices.SortFunc(list, func(a, b Channel) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// keysOfTypes are what each type of channel takes, those first that it needs.
var keysOfTypes = map[string]struct{ needs, takes []string }{
	Webhook:  {nil, []string{"url", "url_file", "secret_file"}},
	Slack:    {[]string{"url_file"}, nil},
	Discord:  {[]string{"url_file"}, nil},
	Telegram: {[]string{"token_file", "chat"}, []string{"url"}},
	SMTP:     {[]string{"host", "from", "to"}, []string{"tls", "user", "password_file"}},
	Command:  {[]string{"run"}, []string{"user"}},
}

func (r alertsReader) channel(place string, e document.Entry) (c Channel) {
	c.Name = e.Name
	if naming.CheckService(e.Name) != nil || len(e.Name) > maxChannelName {
		r.Addf(e.Line, "%s: a channel has a name of at most %d letters, digits, - and _", place, maxChannelName)
		return c
	}
	if !r.mapping(place, e, c.fields()) {
		return c
	}
	keys, known := keysOfTypes[c.Type]
	if !known {
		r.Addf(e.Line, "%s: type is missing: webhook, slack, discord, telegram, smtp or command", place)
		return c
	}
	given := map[string]bool{}
	for _, key := range document.Entries(e.Value) {
		given[key.Name] = !document.IsNull(key.Value)
		if key.Name != "type" && !slices.Contains(slices.Concat(keys.needs, keys.takes), key.Name) {
			r.Addf(key.Line, "%s.%s: a channel of type %s takes %s%s", place, key.Name, c.Type,
				strings.Join(slices.Concat(keys.needs, keys.takes), ", "), secretHint(c.Type, key.Name))
		}
	}
	for _, name := range keys.needs {
		if !given[name] {
			r.Addf(e.Line, "%s: %s is missing", place, name)
		}
	}
	if c.Type == Webhook && (c.URL == "") == (c.URLFile == "") {
		r.Addf(e.Line, "%s: say url or url_file", place)
	}
	if c.Type == SMTP && (c.User == "") != (c.PasswordFile == "") {
		r.Addf(e.Line, "%s: user and password_file go together", place)
	}
	return c
}

// secretHint says why there is no URL of some types in the file.
func secretHint(kind, key string) string {
	if key == "url" && (kind == Slack || kind == Discord) {
		return ": its URL is a secret, put it into a file"
	}
	return ""
}

// fields are the keys of a channel of any type.
func (c *Channel) fields() map[string]func(document.Entry) error {
	types := slices.Sorted(maps.Keys(keysOfTypes))
	return map[string]func(document.Entry) error{
		"type":          one(oneOf(&c.Type, types...)),
		"url":           webAddress(&c.URL),
		"url_file":      absolute(&c.URLFile),
		"secret_file":   absolute(&c.SecretFile),
		"token_file":    absolute(&c.TokenFile),
		"chat":          one(plainText(&c.Chat)),
		"host":          one(checked(&c.Host, hostPort)),
		"tls":           one(oneOf(&c.TLS, "starttls", "tls", "none")),
		"from":          one(checked(&c.From, mailAddress)),
		"to":            texts(&c.To, mailAddress),
		"user":          one(plainText(&c.User)),
		"password_file": absolute(&c.PasswordFile),
		"run":           one(plainText(&c.Run)),
	}
}

func plainText(p *string) field {
	return checked(p, func(s string) error {
		if strings.TrimSpace(s) == "" {
			return fmt.Errorf("is empty")
		}
		return nil
	})
}

func hostPort(s string) error {
	i := strings.LastIndexByte(s, ':')
	if n, err := strconv.ParseUint(s[i+1:], 10, 16); i < 1 || err != nil || n == 0 {
		return fmt.Errorf("must be HOST:PORT such as smtp.example.com:587, not %q", s)
	}
	return nil
}

// mailAddress takes the bare form alone, which is sent as it is.
func mailAddress(s string) error {
	name, domain, ok := strings.Cut(s, "@")
	if !ok || name == "" || domain == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`<>(),;:\"[]`, r)
	}) {
		return fmt.Errorf("must be an address such as ops@example.com, not %q", s)
	}
	return nil
}

// texts sets a list of texts. One alone may stand without the list.
func texts(p *[]string, check func(string) error) func(document.Entry) error {
	return func(e document.Entry) error {
		nodes := []*yaml.Node{e.Value}
		if e.Value.Kind == yaml.SequenceNode {
			nodes = e.Value.Content
		}
		var list []string
		for _, n := range nodes {
			if n.Kind != yaml.ScalarNode || document.IsNull(n) {
				return fmt.Errorf("must be a list of texts, not of %s", document.What(n))
			}
			if err := check(n.Value); err != nil {
				return err
			}
			list = append(list, n.Value)
		}
		if len(list) == 0 {
			return fmt.Errorf("is an empty list")
		}
		*p = list
		return nil
	}
}

// rules reads those that are not as by default. a has the channels.
func (r alertsReader) rules(a Alerts, e document.Entry) (list []AlertRule) {
	place := alertsKey + ".rules"
	if e.Value.Kind != yaml.MappingNode {
		r.Addf(e.Line, "%s: must be a mapping of rules, not %s", place, document.What(e.Value))
		return nil
	}
	channel := func(name string) error {
		if !slices.ContainsFunc(a.Channels, func(c Channel) bool { return c.Name == name }) {
			return fmt.Errorf("there is no channel %q", name)
		}
		return nil
	}
	for _, one := range document.Entries(e.Value) {
		is := AlertRule{Name: one.Name}
		at := place + "." + one.Name
		if !slices.Contains(AlertRules, one.Name) {
			var all []string
			for _, name := range AlertRules {
				all = append(all, place+"."+name)
			}
			r.Addf(one.Line, "%s", document.UnknownKey(at, all, nil))
			continue
		}
		if one.Value.Kind == yaml.ScalarNode && (one.Value.Value == "off" || one.Value.Value == "false") {
			is.Off = true
		} else {
			keys := map[string]func(document.Entry) error{"to": texts(&is.To, channel)}
			if limits[is.Name] > 0 {
				keys["limit"] = limitOf(&is)
			}
			r.mapping(at, one, keys)
		}
		list = append(list, is)
	}
	slices.SortFunc(list, func(a, b AlertRule) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// isShare, isTimes and else a duration: what the limit of a rule is.
func isShare(rule string) bool { return rule == RunFewItems || rule == DiskLow }
func isTimes(rule string) bool { return rule == RunSlow }

func limitOf(rule *AlertRule) func(document.Entry) error {
	return one(bind(&rule.Limit, func(s string) (float64, error) {
		switch {
		case isShare(rule.Name):
			n, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
			if err != nil || !strings.HasSuffix(s, "%") || !(n > 0 && n <= 100) {
				return 0, fmt.Errorf("must be a share such as 50%%, not %q", s)
			}
			return n / 100, nil
		case isTimes(rule.Name):
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || !(n > 1 && n <= 1000) {
				return 0, fmt.Errorf("must be how often as long, such as 2, not %q", s)
			}
			return n, nil
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Second || d > 30*24*time.Hour {
			return 0, fmt.Errorf("must be a duration such as 6h, not %q", s)
		}
		return d.Seconds(), nil
	}, func(float64) string { return rule.limitText() }))
}

func (r AlertRule) limitText() string {
	switch {
	case isShare(r.Name):
		return strconv.FormatFloat(r.Limit*100, 'g', 6, 64) + "%"
	case isTimes(r.Name):
		return strconv.FormatFloat(r.Limit, 'g', 6, 64)
	}
	return time.Duration(r.Limit * float64(time.Second)).String()
}

// showAlerts writes what is said of alerts, with what a mask leaves of it.
func showAlerts(c Config, root *yaml.Node, m mask) error {
	a := c.Alerts
	if a.IsZero() {
		return nil
	}
	channels, rules := map[string]any{}, map[string]any{}
	for _, ch := range a.Channels {
		is := map[string]any{"type": ch.Type}
		for name, value := range map[string]string{
			"url": ch.URL, "url_file": ch.URLFile, "secret_file": ch.SecretFile, "token_file": ch.TokenFile,
			"chat": ch.Chat, "host": ch.Host, "tls": ch.TLS, "from": ch.From, "user": ch.User,
			"password_file": ch.PasswordFile, "run": ch.Run,
		} {
			if value != "" {
				is[name] = value
			}
		}
		if ch.To != nil {
			is["to"] = ch.To
		}
		channels[ch.Name] = is
	}
	for _, r := range a.Rules {
		is := map[string]any{}
		if r.To != nil {
			is["to"] = r.To
		}
		if r.Limit > 0 {
			is["limit"] = r.limitText()
		}
		if rules[r.Name] = is; r.Off {
			rules[r.Name] = "off"
		}
	}
	all := map[string]any{
		"channels": channels, "wait": a.Wait.String(), "settle": a.Settle.String(), "repeat": a.Repeat.String(),
	}
	if len(rules) > 0 {
		all["rules"] = rules
	}
	if d := a.Deadman; d.URL+d.URLFile != "" {
		is := map[string]any{"every": d.Every.String()}
		if all["deadman"] = is; d.URL != "" {
			is["url"] = d.URL
		}
		if d.URLFile != "" {
			is["url_file"] = d.URLFile
		}
	}
	if !m.open {
		hideURLs(all)
	}
	plain, err := toPlain(all)
	if err != nil {
		return err
	}
	value, err := asNode(plain)
	if err == nil {
		put(root, alertsKey, value)
	}
	return err
}

// hideURLs leaves of URLs where they lead: what is behind the host may let who knows it in. Lines for the shell go
// through the mask of variables.
func hideURLs(v map[string]any) {
	for name, value := range v {
		switch value := value.(type) {
		case map[string]any:
			hideURLs(value)
		case string:
			if name == "url" {
				v[name] = ShownURL(value)
			}
			if name == "run" {
				v[name] = mask{}.value("", value)
			}
		}
	}
}

// ShownURL returns a URL without what may be a secret in it.
func ShownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return hidden
	}
	if u.Path == "" && u.RawQuery == "" && u.User == nil {
		return text
	}
	return u.Scheme + "://" + u.Host + "/" + hidden
}
