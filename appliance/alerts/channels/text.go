package channels

import (
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// title says in a few words what a message tells.
func title(m alerts.Message) string {
	if m.Test {
		return "crawlbox: this is a test"
	}
	counts := map[string]int{}
	for _, item := range m.Items {
		counts[item.Status]++
	}
	if len(m.Items) == 1 && m.More == 0 {
		return "crawlbox: " + head(m.Items[0])
	}
	var parts []string
	for _, is := range []struct{ status, word string }{
		{alerts.Firing, "new"}, {alerts.Repeated, "going on"}, {alerts.Resolved, "over"},
	} {
		if n := counts[is.status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, is.word))
		}
	}
	return fmt.Sprintf("crawlbox: %s, %s", words.Count(len(m.Items)+m.More, "alert"), strings.Join(parts, ", "))
}

func head(item alerts.Item) string {
	text := item.Rule + " " + item.Subject
	switch item.Status {
	case alerts.Resolved:
		return "over: " + text
	case alerts.Repeated:
		return "going on: " + text
	}
	return text
}

// lines says what a message tells, in at most so many bytes with the title. escape makes a text one that is shown as it
// is.
func lines(m alerts.Message, from string, most int, escape func(string) string) string {
	text := escape(title(m))
	if m.Test {
		return text + ", sent by " + escape(from) + ". Alerts get here."
	}
	end := func(left int) string {
		if left == 0 {
			return ""
		}
		return fmt.Sprintf("\n… and %d more; `crawlbox alerts ls` lists them", left)
	}
	for i, item := range m.Items {
		line := "\n• " + escape(head(item)+": "+item.Text)
		if len(text)+len(line)+len(end(len(m.Items)+m.More)) > most {
			return text + end(len(m.Items)-i+m.More)
		}
		text += line
	}
	return text + end(m.More)
}

func asIs(text string) string { return text }
