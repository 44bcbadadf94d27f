package compose

import (
	"maps"
	"strings"
	"testing"
)

func TestReadEnv(t *testing.T) {
	t.Parallel()
	known := func(name string) (string, bool) {
		value, ok := map[string]string{"HOME": "/root", "EMPTY": ""}[name]
		return value, ok
	}
	for name, c := range map[string]struct {
		text string
		want map[string]string
	}{
		"as Windows writes it": {
			"\ufeffAPI_KEY=\"a b\"\r\nTOKEN='x'\r\n",
			map[string]string{"API_KEY": "a b", "TOKEN": "x", "OLD": "1"},
		},
		"comments and export": {
			"# no\n\nexport Z=1 # no\nURL=http://a/#yes\n",
			map[string]string{"Z": "1", "URL": "http://a/#yes", "OLD": "1"},
		},
		"variables": {
			"A=x\nB=$A/${OLD}\nC=\"${HOME}\"\nD=${NONE:-d}\nE='$A'\nF=a$$b\nG=${EMPTY}\n",
			map[string]string{"A": "x", "B": "x/1", "C": "/root", "D": "d", "E": "$A", "F": "a$b", "G": "", "OLD": "1"},
		},
		"names alone":  {"HOME\nNONE\nEMPTY", map[string]string{"HOME": "/root", "EMPTY": "", "OLD": "1"}},
		"the last one": {"A=1\nA=2\nOLD=3", map[string]string{"A": "2", "OLD": "3"}},
		"several lines": {
			"KEY=\"-----BEGIN\nabc\n-----END\"\n",
			map[string]string{"KEY": "-----BEGIN\nabc\n-----END", "OLD": "1"},
		},
		"nothing": {"", map[string]string{"OLD": "1"}},
	} {
		env := map[string]string{"OLD": "1"}
		if err := ReadEnv([]byte(c.text), env, known); err != nil || !maps.Equal(env, c.want) {
			t.Errorf("%s: got %q, %v; want %q", name, env, err, c.want)
		}
	}
}

func TestReadEnv_Errors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"A=1\nB='hush\n":     "line 2: a quote does not end",
		"A=1\nhush hush=1\n": "line 2: want NAME=VALUE",
		"A=1\n{hush}=1\n":    "line 2: want NAME=VALUE",
		"=hush":              "a line has no name before its =",
		"A=hush$\n":          "",
		"A=hush${\n":         "a value has a $ that names no variable",
		"A=hush${B!}\n":      "a value has a $ that names no variable",
		"A=hush$NONE\n":      "the variable NONE is not set; write $$",
		"A=\"hush${NONE}\"":  "the variable NONE is not set; write $$",
		"A=${NONE:?hush}\n":  "the variable NONE is not set",
	} {
		env := map[string]string{}
		err := ReadEnv([]byte(text), env, func(string) (string, bool) { return "", false })
		switch {
		case want == "" && err == nil:
		case err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hush"):
			t.Errorf("%q: got %v, want %s", text, err, want)
		case len(env) > 0:
			t.Errorf("%q: it is half read: %q", text, env)
		}
	}
}

func FuzzReadEnv(f *testing.F) {
	f.Add("A=1\nexport B='x' # y\nC=${A:-$B}")
	f.Fuzz(func(t *testing.T, text string) {
		env := map[string]string{}
		err := ReadEnv([]byte(text), env, func(string) (string, bool) { return "", false })
		if _, nameless := env[""]; nameless || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %q, %v", text, env, err)
		}
	})
}
