// Package document reads a YAML file that comes from outside into nodes that know
// their lines, and collects what is wrong with them.
//
// The size of a file, its depth and what its aliases expand to are bounded here,
// before anything else looks at it: nine lines of nested aliases can stand for
// gigabytes. Errors carry file and line, because what reads the nodes further,
// compose-go above all, no longer knows them.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFile bounds the config file, and each env_file, in bytes.
const MaxFile = 1 << 20

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// Parse reads data as one mapping, with aliases and merge keys expanded so
// that every node stands where its value counts and still knows its line. It
// returns nil when there is nothing in it, or nothing that could be read on.
func Parse(data []byte, p *Problems) *yaml.Node {
	if len(data) > MaxFile {
		p.Addf(0, "the file is larger than 1 MiB")
		return nil
	}
	if line := badUTF8(data); line > 0 {
		p.Addf(line, "the text is not UTF-8")
		return nil
	}
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		p.addSyntax(data, err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		p.Addf(second.Line, "a second YAML document begins here: put everything into one")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.addSyntax(data, err)
		return nil
	}
	return expandDocument(doc.Content[0], p)
}

// badUTF8 returns the line of the first byte that is not UTF-8, or 0.
func badUTF8(data []byte) int {
	for line, rest := 1, data; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			return line
		}
		if r == '\n' {
			line++
		}
		rest = rest[n:]
	}
	return 0
}

// addSyntax words an error of the YAML library, which carries its line in the
// text, or not at all.
func (p *Problems) addSyntax(data []byte, err error) {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(reason); m != nil {
		line, _ := strconv.Atoi(m[1])
		p.Addf(line, "not YAML: %s", reason[len(m[0]):])
		return
	}
	var line int
	switch anchor, unknown := strings.CutPrefix(reason, "unknown anchor '"); {
	case unknown:
		line = lineOf(data, "*"+strings.TrimSuffix(anchor, "' referenced"))
	case strings.Contains(reason, "control characters"):
		line = controlLine(data)
	}
	p.Addf(max(line, 1), "not YAML: %s", reason)
}

func lineOf(data []byte, text string) int {
	i := bytes.Index(data, []byte(text))
	return 1 + bytes.Count(data[:max(i, 0)], []byte("\n"))
}

func controlLine(data []byte) int {
	i := bytes.IndexFunc(data, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f })
	return 1 + bytes.Count(data[:max(i, 0)], []byte("\n"))
}

// ReadBounded reads a regular file, up to one byte more than allowed: whoever
// parses it says that it is too large. A pipe or a device could block for ever.
func ReadBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}
