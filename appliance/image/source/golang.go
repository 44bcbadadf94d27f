package source

import (
	"fmt"
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// golang builds a static program in one stage and ships nothing but it, with
// the certificates that a crawler needs for https.
func (s *Source) golang(o Options) (string, error) {
	pkg, err := s.mainPackage()
	if err != nil {
		return "", err
	}
	mod, err := s.read("go.mod")
	if err != nil {
		return "", err
	}
	// The official image forbids to fetch a newer Go, which a module may ask for
	// that is younger than the image that this machine once pulled.
	steps := append([]string{"FROM " + or(o.Base, "golang:1") + " AS build"}, declare(o.Args)...)
	steps = append(steps, "ENV CGO_ENABLED=0 GOTOOLCHAIN=auto", "WORKDIR /src")
	if !s.has("vendor") && !localReplace.MatchString(mod) {
		sums := "go.mod"
		if s.has("go.sum") {
			sums = "go.mod go.sum"
		}
		steps = append(steps, "COPY "+sums+" ./", "RUN go mod download")
	}
	return lines(append(steps,
		"COPY . .",
		"RUN go build -buildvcs=false -trimpath -o /app "+pkg,
		"# Files that the program reads while it runs are not in the image: embed them",
		"# (go:embed), or keep this Dockerfile with --eject and COPY them here.",
		"FROM scratch",
		makeTmp,
		"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/",
		"COPY --from=build /app /app",
		`ENTRYPOINT ["/app"]`)...), nil
}

// localReplace matches a go.mod that needs other directories of the context before
// its modules can be downloaded.
var localReplace = regexp.MustCompile(`=>\s*\.`)

// mainPackage returns the directory to build: the top one, or the only one below cmd.
func (s *Source) mainPackage() (string, error) {
	if isMain(s.Dir) {
		return ".", nil
	}
	var found []string
	cmds, _ := os.ReadDir(filepath.Join(s.Dir, "cmd")) // there need be none
	for _, c := range cmds {
		if isMain(filepath.Join(s.Dir, "cmd", c.Name())) {
			found = append(found, "./cmd/"+c.Name())
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%s has no package main at its top and none in cmd/*; give the directory of the "+
			"program if it has its own go.mod, or write a Dockerfile there", s.Dir)
	}
	return "", fmt.Errorf("%s has the programs %s; write a Dockerfile there that builds one", s.Dir,
		strings.Join(found, ", "))
}

func isMain(dir string) bool {
	c := build.Default
	c.GOOS, c.CgoEnabled = "linux", false
	p, err := c.ImportDir(dir, 0)
	return err == nil && p.IsCommand()
}
