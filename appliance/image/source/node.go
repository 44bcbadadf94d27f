package source

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// packageJSON holds what crawlbox reads of a package.json.
type packageJSON struct {
	Main       string
	Scripts    struct{ Start string }
	Workspaces json.RawMessage
}

// nodeEnv also keeps npm from asking for a newer npm, which takes seconds where no
// answer comes.
const nodeEnv = "NODE_ENV=production NPM_CONFIG_UPDATE_NOTIFIER=false"

func (s *Source) node(o Options) (string, error) {
	text, err := s.read("package.json")
	if err != nil {
		return "", err
	}
	var p packageJSON
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return "", fmt.Errorf("read %s: %w", filepath.Join(s.Dir, "package.json"), err)
	}
	cmd, err := s.nodeCommand(p)
	if err != nil {
		return "", err
	}
	r := recipe{
		base:    or(o.Base, "node:lts-slim"),
		args:    o.Args,
		env:     nodeEnv,
		install: "npm install --omit=dev",
		cmd:     cmd,
	}
	r.whole = p.Workspaces != nil || strings.Contains(text, `"file:`)
	for _, f := range []string{"package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"} {
		if s.has(f) {
			r.manifests = append(r.manifests, f)
		}
	}
	if s.has("package-lock.json") || s.has("npm-shrinkwrap.json") {
		r.install = "npm ci --omit=dev"
	}
	return r.dockerfile(), nil
}

// plainNode matches start scripts that need no shell.
var plainNode = regexp.MustCompile(`^node( +[\w./=:@-]+)+$`)

// nodeCommand runs node itself wherever it can: npm would stand between it and
// SIGTERM.
func (s *Source) nodeCommand(p packageJSON) ([]string, error) {
	start := strings.TrimSpace(p.Scripts.Start)
	if start != "" && !plainNode.MatchString(start) {
		return []string{"npm", "start"}, nil
	}
	cmd := strings.Fields(start)
	if len(cmd) == 0 {
		cmd = []string{"node", or(p.Main, "index.js")}
	}
	for _, w := range cmd[1:] {
		if s.has(w) || s.has(w+".js") || s.has(path.Join(w, "index.js")) {
			return cmd, nil
		}
	}
	return nil, fmt.Errorf("package.json of %s leads to `%s`, and no such file is there; build it first, set main or "+
		"scripts.start, or write a Dockerfile there", s.Dir, strings.Join(cmd, " "))
}
