package compose

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/template"
)

// Where Compose has no opinion of its own, the result is the same as Compose's.
func TestInterpolate_LikeCompose(t *testing.T) {
	t.Parallel()
	env := map[string]string{"A": "1", "EMPTY": "", "B": "x$Ay"}
	find := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, text := range []string{
		"", "plain", "$A", "${A}", "a${A}b$A", "$$A", "$${A}", "${NO:-d}", "${NO-d}", "${EMPTY:-d}", "${EMPTY-d}",
		"${A:-d}",
		"${NO:-${A}}", "${NO:-${NEIN:-deep}}x", "${A:+set}", "${NO:+set}", "${EMPTY:+set}", "${EMPTY+set}", "${NO+set}",
		"${A:?must}", "${NO:-a:b}", "${NO:-a-b}", "$B", "${NO:-{}", "${NO:-}", "$A$A$A",
	} {
		want, err := template.Substitute(text, find)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := interpolate(text, find); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"${NO:?must}", "${EMPTY:?must}", "${NO?}", "$NO", "${NO}", "$", "$5", "${", "${}", "${A", "${A!}", "${1}",
	} {
		if got, err := interpolate(text, find); err == nil {
			t.Errorf("%s gave %q", text, got)
		}
	}
}

func FuzzInterpolate(f *testing.F) {
	f.Add("${A:-${B}}$$ $C")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := interpolate(text, func(string) (string, bool) { return "", true })
		if err == nil && len(got) > len(text) {
			t.Fatalf("%q grew to %q with empty variables", text, got)
		}
	})
}
