package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table of cases lies in testdata/compare. A file has sections:
//
//	[GET]             the command that the section is about
//	# why             a comment
//	GET s             a command on connection a; the replies must be the same
//	b: GET s          the same on connection b, which is opened for it
//	b> BLPOP k 0      sends without reading
//	b< 2              reads what came, one reply or so many
//	b~ 2              the same in any order
//	b!                the server has hung up
//	@close b          the client hangs up
//	@blocked 1        waits until so many clients wait
//	@gone k           waits until k has expired
//	@scan SSCAN st    compares a whole scan
//
// A blank line begins a new case: the data is the fixture again and all
// connections are new. Arguments are quoted as in redis-cli. {x*100} is a
// hundred times x, {m1..m300} so many arguments, {m1..m300=v} with v1..v300 in
// between, {id:b} what the server calls connection b, {addr:b} where it comes
// from, {password} the server's.

// scriptFixture is the data that each case begins with.
var scriptFixture = []string{
	"SET s hello", "SET n 10", "SET f 3.5", "RPUSH l a b c d e", "SADD st a b c", "SADD ints 1 2 3",
	"HSET h f1 v1 f2 v2 n 5", "ZADD z 1 a 2 b 3 c",
}

// scriptCase is a case of the table.
type scriptCase struct {
	section string // the command it is about
	at      string // file and line
	lines   []scriptLine
}

type scriptLine struct {
	at   string
	conn string
	op   byte     // ':' do, '>' send, '<' read, '~' read in any order, '!' hung up, '@' directive
	args []string // of the command, the directive, or how many replies
}

var scriptPrefix = regexp.MustCompile(`^([a-z])([:><~!])(?: (.*))?$`)

// readScripts returns the cases of all files.
func readScripts(t testing.TB) []scriptCase {
	t.Helper()
	files, err := filepath.Glob("testdata/compare/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata/compare: %v", err)
	}
	var cases []scriptCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := parseScript(filepath.Base(file), string(data))
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, found...)
	}
	return cases
}

func parseScript(file, text string) ([]scriptCase, error) {
	var cases []scriptCase
	section, open := "", false
	n := 0
	for line := range strings.Lines(text) {
		n++
		at := fmt.Sprintf("%s:%d", file, n)
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case line == "":
			open = false
			continue
		case strings.HasPrefix(line, "["):
			section, open = strings.Trim(line, "[]"), false
			continue
		}
		parsed, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if !open {
			cases = append(cases, scriptCase{section: section, at: at})
			open = true
		}
		parsed.at = at
		last := &cases[len(cases)-1]
		last.lines = append(last.lines, parsed)
	}
	return cases, nil
}

func parseLine(line string) (scriptLine, error) {
	out := scriptLine{conn: "a", op: ':'}
	if m := scriptPrefix.FindStringSubmatch(line); m != nil {
		out.conn, out.op, line = m[1], m[2][0], m[3]
	} else if strings.HasPrefix(line, "@") {
		out.op, line = '@', line[1:]
	}
	args, err := splitArguments(line)
	if err == nil && len(args) == 0 && !strings.ContainsRune("<~!", rune(out.op)) {
		err = fmt.Errorf("no command in %q", line)
	}
	out.args = args
	return out, err
}

// quotedWord matches one argument with its quotes.
var quotedWord = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+`)

func splitArguments(line string) ([]string, error) {
	var out []string
	for _, word := range quotedWord.FindAllString(line, -1) {
		switch word[0] {
		case '"':
			text, err := strconv.Unquote(word)
			if err != nil {
				return nil, fmt.Errorf("argument %s: %w", word, err)
			}
			out = append(out, text)
		case '\'':
			out = append(out, word[1:len(word)-1])
		default:
			out = append(out, expandArgument(word)...)
		}
	}
	return out, nil
}

var (
	repeated = regexp.MustCompile(`\{(.)\*(\d+)\}`)
	spanned  = regexp.MustCompile(`^\{([a-z]*)(\d+)\.\.[a-z]*(\d+)(?:=([a-z]*))?\}$`)
)

func expandArgument(word string) []string {
	m := spanned.FindStringSubmatch(word)
	if m == nil {
		return []string{repeated.ReplaceAllStringFunc(word, func(s string) string {
			m := repeated.FindStringSubmatch(s)
			n, _ := strconv.Atoi(m[2])
			return strings.Repeat(m[1], n)
		})}
	}
	from, _ := strconv.Atoi(m[2])
	to, _ := strconv.Atoi(m[3])
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, m[1]+strconv.Itoa(i))
		if strings.Contains(word, "=") {
			out = append(out, m[4]+strconv.Itoa(i))
		}
	}
	return out
}

// sections returns what the cases of each command call, for the tests of coverage.
func sections(cases []scriptCase) map[string][]scriptLine {
	out := map[string][]scriptLine{}
	for _, c := range cases {
		out[c.section] = append(out[c.section], c.lines...)
	}
	return out
}

// mentions reports whether one of the lines calls name with the token.
func mentions(lines []scriptLine, name, token string) bool {
	return slices.ContainsFunc(lines, func(line scriptLine) bool {
		return len(line.args) > 0 && strings.EqualFold(line.args[0], name) &&
			(token == "" || slices.ContainsFunc(line.args[1:],
				func(arg string) bool { return strings.EqualFold(arg, token) }))
	})
}
