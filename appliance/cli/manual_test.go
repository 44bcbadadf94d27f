package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/help"
	"github.com/crawlbox/crawlbox/configs"
)

const readme = "../../README.md"

// manualPages returns the files of the manual: README.md and the embedded topics, with
// paths from here.
func manualPages(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{readme: string(text)}
	for _, topic := range help.Topics() {
		if topic.Text == "" {
			t.Fatalf("there is no appliance/help/%s.md", topic.Name)
		}
		pages["../help/"+topic.Name+".md"] = topic.Text
	}
	return pages
}

// codeBlock matches a fenced block, with its language and its lines.
var codeBlock = regexp.MustCompile("(?ms)^```([a-z]+)?\n(.*?)^```$")

// codeSpan matches code within a paragraph.
var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// commandLine matches what a page shows to be typed.
type commandLine struct {
	text    string
	mention bool // in a sentence, which may name a command without its arguments
}

// commandLines returns the lines of a page's blocks and the spans in its text.
func commandLines(page string) (lines []commandLine) {
	for _, block := range codeBlock.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[2]) {
			line = strings.TrimSpace(line)
			typed := strings.TrimPrefix(line, "# ")
			if block[1] == "sh" || typed != line {
				lines = append(lines, commandLine{text: typed})
			}
		}
	}
	text := codeBlock.ReplaceAllString(page, "")
	for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
		lines = append(lines, commandLine{strings.ReplaceAll(span[1], `\|`, "|"), true})
	}
	return lines
}

// called matches a call of crawlbox, up to what ends it for a shell.
var called = regexp.MustCompile(`(?:^|[ (])crawlbox((?: +(?:'[^']*'|[^|<>&;)#'])+)?)`)

// substitution matches a command whose output goes into another.
var substitution = regexp.MustCompile(`\$\(([^)]*)\)`)

// crawlboxCalls returns the arguments of each call of crawlbox in a line for the shell.
func crawlboxCalls(t *testing.T, line string) (calls [][]string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " # ")
	line = strings.ReplaceAll(line, " 2>", " >") // the number of a file is no argument
	for _, inner := range substitution.FindAllStringSubmatch(line, -1) {
		calls = append(calls, crawlboxCalls(t, inner[1])...)
	}
	line = substitution.ReplaceAllString(line, "OUTPUT")
	if strings.HasPrefix(line, "systemctl ") || strings.HasPrefix(line, "journalctl ") ||
		strings.HasPrefix(line, "systemd-analyze ") {
		return calls // they name the unit
	}
	for _, call := range called.FindAllStringSubmatch(line, -1) {
		args, err := shellwords.Parse(call[1])
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		calls = append(calls, args)
	}
	return calls
}

// TestManual_Commands parses every command line of the manual with the real tree:
// commands and flags exist, and arguments are as many as they may be.
func TestManual_Commands(t *testing.T) {
	t.Parallel()
	checked := 0
	for path, page := range manualPages(t) {
		isReference := filepath.Base(path) == "commands.md" // shows what a command takes, and no call of it
		for _, line := range commandLines(page) {
			for _, args := range crawlboxCalls(t, line.text) {
				checked++
				if err := parses(args, line.mention, isReference); err != nil {
					t.Errorf("%s: %s: %v", path, line.text, err)
				}
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// parses checks a command line as its execution would, up to what it does.
func parses(args []string, mention, usage bool) error {
	root := New(command.Env{})
	root.InitDefaultHelpCmd()
	if len(args) > 0 && args[0] == "COMMAND" {
		return nil // commands in general
	}
	cmd, rest, err := root.Find(args)
	if err != nil || usage || mention && len(rest) == 0 {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if wanted, _ := cmd.Flags().GetBool("help"); wanted {
		return nil
	}
	if cmd.Name() == "help" {
		return helpFor(root, cmd.Flags().Args())
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func helpFor(root *cobra.Command, args []string) error {
	if _, ok := help.Lookup(strings.Join(args, " ")); ok || slices.Equal(args, []string{"TOPIC"}) {
		return nil
	}
	_, _, err := root.Find(args)
	return err
}

// TestManual_MakeTargets wants every make target that README and the guide for
// contributors name to be in the Makefile.
func TestManual_MakeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	target := regexp.MustCompile(`(?m)(?:^ *|\x60|sudo (?:\w+=\w+ )?)make ([a-zA-Z0-9-]+)`)
	for _, path := range []string{readme, "../../CONTRIBUTING.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			name := regexp.MustCompile(`^check-.*`).ReplaceAllString(m[1], "check-%")
			if !regexp.MustCompile(`(?m)^` + name + `:`).Match(makefile) {
				t.Errorf("%s names make %s, which the Makefile does not have", path, m[1])
			}
		}
	}
}

// TestManual_ConfigBlocks loads every config that the manual shows.
func TestManual_ConfigBlocks(t *testing.T) {
	t.Parallel()
	for path, page := range manualPages(t) {
		for _, block := range codeBlock.FindAllStringSubmatch(page, -1) {
			if block[1] != "yaml" {
				continue
			}
			file := filepath.Join(t.TempDir(), "crawlbox.yaml")
			if err := os.MkdirAll(filepath.Join(filepath.Dir(file), "robot"), 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := configs.Parse(file, []byte(block[2])); err != nil {
				t.Errorf("%s: %v in\n%s", path, err, block[2])
			}
		}
	}
}

// TestManual_ConfigKeys wants every key to be documented, and every key that is
// named to exist.
func TestManual_ConfigKeys(t *testing.T) {
	t.Parallel()
	keys := configs.Keys()
	page, _ := help.Lookup("configuration")
	others := []string{"queue", "services", "networks", "volumes", "secrets", "schedules", "alerts"}
	for _, key := range append(others, keys...) {
		if !strings.Contains(page.Text, "`"+key+"`") {
			t.Errorf("configuration.md says nothing of %s", key)
		}
	}
	groups := map[string]bool{}
	for _, key := range keys {
		if group, _, ok := strings.Cut(key, "."); ok {
			groups[group] = true
		}
	}
	for path, page := range manualPages(t) {
		for _, span := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
			name, _, _ := strings.Cut(span[1], ":")
			group, rest, _ := strings.Cut(name, ".")
			isKey := regexp.MustCompile(`^[a-z_]+$`).MatchString(rest) && groups[group]
			if variable, ok := strings.CutPrefix(span[1], "CRAWLBOX_"); ok {
				variable, _, _ = strings.Cut(variable, "=")
				if !knownVariable(variable, keys) {
					t.Errorf("%s: there is no variable CRAWLBOX_%s", path, variable)
				}
			}
			if isKey && !slices.Contains(keys, name) {
				t.Errorf("%s: there is no key %s", path, name)
			}
		}
	}
}

func knownVariable(name string, keys []string) bool {
	others := []string{ // no keys
		"JOIN", "SERVICE", "BIN", "LAB_RELEASE", "QUEUE_URL", "QUEUE_CA", "RECOVERY_KEY", "REDIS_URL",
		"QUEUE_ENGINE_URL", "ARG_SITE",
	}
	return slices.Contains(others, name) || slices.ContainsFunc(keys, func(key string) bool {
		return strings.ToUpper(strings.ReplaceAll(key, ".", "_")) == name
	})
}

// manualLink matches a link, with its target.
var manualLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestManual_Links wants every link within the tree to lead to a file or directory, and to a
// heading in it where it names one, and README to link every topic.
func TestManual_Links(t *testing.T) {
	t.Parallel()
	pages := manualPages(t)
	for path, page := range pages {
		for _, link := range manualLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, heading, _ := strings.Cut(link[1], "#")
			target := filepath.Join(filepath.Dir(path), file)
			if file == "" {
				target = path
			}
			if info, err := os.Stat(target); err == nil && info.IsDir() && heading == "" {
				continue
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: the link to %s leads nowhere", path, link[1])
				continue
			}
			if heading != "" && !slices.Contains(anchors(string(text)), heading) {
				t.Errorf("%s: %s has no heading for #%s", path, file, heading)
			}
		}
	}
	for _, topic := range help.Topics() {
		if !strings.Contains(pages[readme], "(appliance/help/"+topic.Name+".md") {
			t.Errorf("README.md does not link the topic %s", topic.Name)
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)

// anchors returns the targets that GitHub makes of headings.
func anchors(page string) (list []string) {
	for line := range strings.Lines(codeBlock.ReplaceAllString(page, "")) {
		if text, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			anchor := notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
			list = append(list, strings.ReplaceAll(anchor, " ", "-"))
		}
	}
	return list
}

// TestManual_README holds README to a size that a stranger reads.
func TestManual_README(t *testing.T) {
	t.Parallel()
	const maxSize = 8 << 10
	if n := len(manualPages(t)[readme]); n > maxSize {
		t.Errorf("README.md has %d bytes, and at most %d: what is more belongs to appliance/help", n, maxSize)
	}
}

// TestManual_Paths wants every path in the tree that the manual names to exist.
func TestManual_Paths(t *testing.T) {
	t.Parallel()
	pages := manualPages(t)
	const guide = "../../CONTRIBUTING.md"
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	pages[guide] = string(text)
	inTree := regexp.MustCompile(`^(appliance|embedded|configs|systemd|testdata|\.ci)(/[\w./-]+)?$`)
	for path, page := range pages {
		for _, span := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
			if !inTree.MatchString(span[1]) {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", span[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
