// Package source reads what a user wants to deploy: a directory with a Dockerfile,
// a directory that crawlbox can write one for, or one static program. It knows
// neither Docker nor the cluster; what comes out is a build context as a tar.
package source

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Kind is the kind of project that a source was found to be.
type Kind string

// The kinds, in the order in which they are looked for in a directory. Binary is
// for a path that is one file.
const (
	Dockerfile Kind = "Dockerfile"
	Scrapy     Kind = "Scrapy"
	Node       Kind = "Node"
	Go         Kind = "Go"
	Python     Kind = "Python"
	Binary     Kind = "Binary"
)

// Options are what a user may say about a source beside its path. The zero
// value finds out everything.
type Options struct {
	Dockerfile string   // path of another Dockerfile, relative to the directory or absolute
	Spider     string   // which spider of a Scrapy project without a Dockerfile to run
	Base       string   // image that a generated Dockerfile starts from, in place of the usual one
	Args       []string // names of build arguments, which a generated Dockerfile declares
	MaxContext int64    // bytes that the context may have; 0 is MaxContext
}

// Source is a directory or program that can become an image. It does not change
// after Open; the files are read again by each method.
type Source struct {
	Dir        string // directory of the context, absolute and without symlinks
	Kind       Kind
	Name       string // default name of a service: [a-z0-9-], at most 63
	Dockerfile string // text
	Generated  bool   // the Dockerfile is crawlbox's

	file           string // the program of a Binary
	dockerfileName string // in the context; empty where it is none of its files
	ignoreFile     string // path of the file that says what to leave out, there or not
	ignore         string // its text
	limit          int64
}

// Open finds out what is at path. Errors are for the user: one line that says
// what was wrong and what to do.
func Open(path string, o Options) (*Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, words.Error(fs.ErrNotExist, "there is no directory or file %s on this machine", abs)
	}
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	s := &Source{Dir: real, Name: serviceName(filepath.Base(abs)), limit: cmp.Or(o.MaxContext, MaxContext)}
	if st.IsDir() {
		err = s.openDirectory(o)
	} else {
		s.Dir, s.file = filepath.Dir(real), real
		err = s.openBinary(o)
	}
	if err != nil {
		return nil, err
	}
	if o.Spider != "" && s.Kind != Scrapy {
		return nil, fmt.Errorf("a spider can be chosen in a Scrapy project without a Dockerfile, and %s is of kind "+
			"%s; say in its CMD what to run", s.Dir, s.Kind)
	}
	return s, nil
}

// Path returns what becomes an image: the directory, or the one program.
func (s *Source) Path() string { return cmp.Or(s.file, s.Dir) }

// DockerfileName returns the name of the Dockerfile in the context. It is empty where the
// Dockerfile is none of the files there: one from elsewhere, one that .dockerignore lists,
// and one that crawlbox wrote.
func (s *Source) DockerfileName() string { return s.dockerfileName }

// stageLine matches where a stage of a Dockerfile begins.
var stageLine = regexp.MustCompile(`(?im)^\s*FROM\s+(?:--\S+\s+)*\S+(?:\s+AS\s+(\S+))?\s*$`)

// HasStage reports whether the Dockerfile has a stage of a name or number.
func (s *Source) HasStage(name string) bool {
	text := strings.ReplaceAll(strings.ReplaceAll(s.Dockerfile, "\r", ""), "\\\n", " ")
	for n, m := range stageLine.FindAllStringSubmatch(text, -1) {
		if strings.EqualFold(m[1], name) || strconv.Itoa(n) == name {
			return true
		}
	}
	return false
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// serviceName makes a name that Swarm accepts, and DNS too, since services
// find each other by it.
func serviceName(base string) string {
	n := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(base), "-"), "-")
	if len(n) > 63 {
		n = strings.Trim(n[:63], "-")
	}
	if n == "" {
		return "crawler"
	}
	return n
}
