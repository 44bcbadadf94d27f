package command

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Variables reads what a flag was given, NAME=VALUE each. NAME alone is taken from the environment
// here, as docker does, and left out where it is not there. Of those with one name the last counts.
func Variables(flag string, given []string) (map[string]string, error) {
	variables := map[string]string{}
	for _, text := range given {
		name, value, has := strings.Cut(text, "=")
		if name == "" || !IsWord(name) {
			shown := strconv.Quote(name) // the value may be a password
			if has {
				shown += "=…"
			}
			return nil, fmt.Errorf("--%s %s: want NAME=VALUE, and a NAME without spaces and control characters", flag,
				shown)
		}
		if !has {
			value, has = os.LookupEnv(name)
		}
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("--%s: the value of %s is not UTF-8; encode it, such as with base64", flag, name)
		}
		if has {
			variables[name] = value
		}
	}
	return variables, nil
}

// IsWord reports whether a text has neither spaces nor what is not seen, and is UTF-8.
func IsWord(text string) bool {
	unseen := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unseen)
}
