package command

import "testing"

func TestWithoutJoin(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`got "CBX1-ABCDEFGH12"; see`:           `got "CBX1-…"; see`,
		`got "cbx1-abcd efgh\nijkl"`:           `got "CBX1-…"`,
		`it begins with CBX1-; print it`:       `it begins with CBX1-; print it`,
		"`crawlbox worker --join CBX1-…`":      "`crawlbox worker --join CBX1-…`",
		`two: CBX1-ABCDEFGH1, CBX12-ABCDEFGH2`: `two: CBX1-…, CBX1-…`,
	} {
		if got := WithoutJoin(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
