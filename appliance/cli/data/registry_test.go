package data

import "testing"

func TestQuote(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.1:8003": "10.0.0.1:8003", "": "''", "a b": "'a b'", "a'b;$(c)": `'a'\''b;$(c)'`, "é": "'é'",
	} {
		if got := quote(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
