package configs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/crawlbox/crawlbox/configs/compose"
)

// hidden stands where a secret would.
const hidden = "********"

// HideSecrets returns v as plain JSON values in which ******** stands for what
// [Show] hides: values whose name says that they are secret, in mappings and in
// texts such as API_KEY=1, and passwords in URLs.
func HideSecrets(v any) (any, error) {
	plain, err := toPlain(v)
	if err != nil {
		return nil, fmt.Errorf("hide secrets: %w", err)
	}
	return mask{}.value("", plain), nil
}

// toPlain goes through JSON, for which compose-go's types have their canonical form.
func toPlain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain any
	return plain, json.Unmarshal(text, &plain)
}

// secretName matches names such as REDIS_PASSWORD, api-key and AUTH_TOKEN.
var secretName = regexp.MustCompile(
	`(?i)pass(word|wd|phrase)?|secret|token|credential|api_?-?key|private_?-?key|access_?-?key|auth`)

// urlPassword matches the password in scheme://user:password@host.
var urlPassword = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:)[^\s/]+@`)

// setting matches NAME=VALUE and --name=value.
var setting = regexp.MustCompile(`(?s)^([\w.-]+)=.`)

// mask hides secrets in plain values.
type mask struct {
	open    bool // hide nothing
	dollars bool // double dollar signs, which Load would take for variables
}

// value hides what is secret in v, which is called name; "" is no name.
func (m mask) value(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		return m.mapping(v)
	case []any:
		return m.list(v)
	case string:
		return m.text(name, v)
	}
	return v
}

// mapping leaves out a command that the image keeps, which is null in JSON.
func (m mask) mapping(v map[string]any) any {
	for key, child := range v {
		if child == nil && (key == "command" || key == "entrypoint") {
			delete(v, key)
			continue
		}
		v[key] = m.value(key, child)
	}
	return v
}

// list takes an option such as --password for the name of what follows it.
func (m mask) list(v []any) any {
	out := make([]any, len(v))
	name := ""
	for i, item := range v {
		out[i] = m.value(name, item)
		name = ""
		if option, ok := item.(string); ok && strings.HasPrefix(option, "-") && !strings.Contains(option, "=") {
			name = option
		}
	}
	return out
}

func (m mask) text(name, v string) string {
	if m.open {
		return m.escape(v)
	}
	if v != "" && secretName.MatchString(name) {
		return hidden
	}
	if found := setting.FindStringSubmatch(v); found != nil && secretName.MatchString(found[1]) {
		return found[1] + "=" + hidden
	}
	return m.escape(urlPassword.ReplaceAllString(v, "${1}"+hidden+"@"))
}

func (m mask) escape(v string) string {
	if !m.dollars {
		return v
	}
	return strings.ReplaceAll(strings.ReplaceAll(v, "$", "$$"), compose.QueuePlaceholder,
		"${"+compose.QueueVariable+"}")
}
