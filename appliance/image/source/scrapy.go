package source

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

func (s *Source) scrapy(o Options) (string, error) {
	spider, err := s.spider(o.Spider)
	if err != nil {
		return "", err
	}
	r, err := s.pip(o, "", "scrapy")
	r.cmd = []string{"scrapy", "crawl", spider}
	return r.dockerfile(), err
}

// spider chooses the spider to run. A name that no file has is refused, since
// it would only fail later, in each container.
func (s *Source) spider(wanted string) (string, error) {
	names, err := s.spiders()
	switch {
	case err != nil:
		return "", err
	case wanted != "" && (len(names) == 0 || slices.Contains(names, wanted)):
		return wanted, nil
	case wanted != "":
		return "", fmt.Errorf("%s has no spider %q, but %s; choose one with --spider, or write a Dockerfile there",
			s.Dir, wanted, strings.Join(names, ", "))
	case len(names) == 0:
		return "",
			fmt.Errorf(
				`no class with name = "…" in spiders/*.py below %s; choose the spider with --spider, or write a Dockerfile there`, s.Dir)
	case len(names) > 1:
		return "", fmt.Errorf("%s has the spiders %s; choose one with --spider, or say with --dockerfile how to "+
			"run them", s.Dir, strings.Join(names, ", "))
	}
	return names[0], nil
}

// spiders returns the names of all spiders in a directory called spiders, sorted.
func (s *Source) spiders() ([]string, error) {
	files, err := s.list()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		inSpiders := slices.Contains(strings.Split(path.Dir(f.name), "/"), "spiders")
		if !inSpiders || !f.mode.IsRegular() || path.Ext(f.name) != ".py" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		names = append(names, spiderNames(string(text))...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

var (
	classLine = regexp.MustCompile(`^class\s+\w`)
	nameLine  = regexp.MustCompile(`^name\s*(?::\s*\w+\s*)?=\s*(?:"([^"\\]+)"|'([^'\\]+)')\s*(?:#.*)?$`)
)

// spiderNames finds the class attributes name = "…" of a Python file. It goes
// by indentation: what stands deeper is a variable of some method.
func spiderNames(text string) (names []string) {
	inClass, indent := false, 0
	for line := range strings.Lines(text) {
		body := strings.TrimSpace(line)
		depth := len(line) - len(strings.TrimLeft(line, " \t"))
		switch {
		case body == "" || body[0] == '#' || body[0] == ')':
		case depth == 0:
			inClass, indent = classLine.MatchString(body), 0
		case inClass && (indent == 0 || indent == depth):
			indent = depth
			if m := nameLine.FindStringSubmatch(body); m != nil {
				names = append(names, m[1]+m[2])
			}
		}
	}
	return names
}
