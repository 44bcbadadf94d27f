// Package help is the manual: one Markdown file for each topic, embedded in the
// binary. A person who has a server and a crawlbox has the manual too, of the
// version that runs there, and without the Internet; README links the same files.
// The package renders them for a terminal and knows nothing of commands.
package help

//go:generate go test ../cli -run TestReference -update

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.md
var files embed.FS

// names lists the topics in the order of the table of contents.
var names = []string{
	"install",
	"deploy",
	"services",
	"runs",
	"schedules",
	"logs",
	"alerts",
	"queue",
	"images",
	"access",
	"upgrade",
	"operations",
	"configuration",
	"ports-and-files",
	"limits",
	"architecture",
	"commands",
}

type Topic struct {
	Name  string // such as "ports-and-files"
	Title string
	Text  string // Markdown, which begins with the title
}

// Topics returns the pages of the manual in the order of the table of contents.
func Topics() []Topic {
	topics := make([]Topic, 0, len(names))
	for _, name := range names {
		topic, _ := Lookup(name)
		topics = append(topics, topic)
	}
	return topics
}

func Lookup(name string) (Topic, bool) {
	text, err := fs.ReadFile(files, name+".md")
	if err != nil {
		return Topic{}, false
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return Topic{Name: name, Title: strings.TrimPrefix(first, "# "), Text: string(text)}, true
}
