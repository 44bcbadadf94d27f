package compose

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
)

// bare matches a variable without a default.
var bare = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)

// ReadEnv adds the variables of a file to env, as `env_file` of a service is read. It may have
// comments, quotes, `export`, a byte order mark and ${VARIABLES}, which are what find knows, or
// were read before. A name alone takes its value from there; one that is not there is left out.
// Errors do not quote values: they may be secret.
func ReadEnv(text []byte, env map[string]string, find func(name string) (string, bool)) error {
	needed := map[string]bool{}
	for _, m := range bare.FindAllSubmatch(text, -1) {
		needed[string(m[1])+string(m[2])] = true
	}
	read, missing := maps.Clone(env), ""
	known := func(name string) (string, bool) {
		if value, ok := find(name); ok {
			return value, true
		}
		if value, ok := read[name]; ok || !needed[name] {
			return value, ok
		}
		missing = name
		return "", true
	}
	// A name alone is known by the end of its line.
	lines := append(bytes.Clone(text), '\n')
	err := dotenv.ParseWithFormat(bytes.NewReader(lines), "", read, known, dotenv.DotEnv)
	_, nameless := read[""]
	switch {
	case err != nil:
		return envProblem(err, text)
	case nameless:
		return errors.New("a line has no name before its =; want NAME=VALUE")
	case missing != "":
		return fmt.Errorf("the variable %s is not set; write $$ for a $ that is meant as it is, or put the value into "+
			"single quotes", missing)
	}
	maps.Copy(env, read)
	return nil
}

var (
	atLine   = regexp.MustCompile(`\bline \d+`)
	openedBy = regexp.MustCompile(`unterminated quoted value (.*)`)
)

// envProblem words an error of compose-go in a text without what it quotes.
func envProblem(err error, text []byte) error {
	required := (*template.MissingRequiredError)(nil)
	line := atLine.FindString(err.Error())
	switch opened := openedBy.FindStringSubmatch(err.Error()); {
	case errors.As(err, &required):
		return fmt.Errorf("the variable %s is not set", required.Variable)
	case opened != nil: // its line is the last one
		before, _, _ := strings.Cut(string(text), opened[1])
		return fmt.Errorf("line %d: a quote does not end", 1+strings.Count(before, "\n"))
	case line == "":
		return errors.New("a value has a $ that names no variable; write $$ for it, or put the value into single " +
			"quotes")
	}
	return fmt.Errorf("%s: want NAME=VALUE", line)
}
