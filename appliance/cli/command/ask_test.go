package command

import "testing"

// TestQuestion_Text: a node's name stays as the user wrote it.
func TestQuestion_Text(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]Question{
		"Delete 3 items of urls?":                    {Do: "delete 3 items of urls"},
		"h2 leaves its cluster. Uninstall crawlbox?": {Do: "uninstall crawlbox", Why: "h2 leaves its cluster"},
	} {
		if got := q.text(); got != want {
			t.Errorf("asks %q, want %q", got, want)
		}
	}
}
