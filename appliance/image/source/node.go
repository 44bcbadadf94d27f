package source

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// packageJSON holds what crawlbox reads of a package.json.
type packageJSON struct {
	Main            string            `json:"main"`
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]any    `json:"dependencies"`
	DevDependencies map[string]any    `json:"devDependencies"`
	Workspaces      json.RawMessage   `json:"workspaces"`
}

// wrongKind is of a value that is another than the tools of a project take there. What decoders say
// of it is about types of ours.
func wrongKind(value string) error {
	return fmt.Errorf("%s is of another kind than it has to be, such as a list where names have values", value)
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
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = wrongKind(cmp.Or(wrong.Field, "the whole"))
		}
		return "", fmt.Errorf("read %s: %w", filepath.Join(s.Dir, "package.json"), err)
	}
	cmd, err := s.nodeCommand(p)
	if err != nil {
		return "", err
	}
	lifecycle, err := s.lifecycle(p)
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
	switch {
	case s.has("package-lock.json") || s.has("npm-shrinkwrap.json"):
		r.install = "npm ci --omit=dev"
	default:
		r.note = s.unreadNodeLock()
	}
	r.install = lifecycle + r.install
	return r.dockerfile(), nil
}

// unreadNodeLock says for who reads the Dockerfile that a lock file does not count.
func (s *Source) unreadNodeLock() string {
	for _, lock := range []string{"yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"} {
		if s.has(lock) {
			return "The versions in " + lock + " do not count; to have them, run `npm install --package-lock-only`."
		}
	}
	return ""
}

// lifecycle returns what goes before the installation. npm runs scripts of the package with it,
// and a tool that only development has is not there: it is left out where the script prepares
// the directory of who works on it, as husky does, and refused where it is part of the program.
func (s *Source) lifecycle(p packageJSON) (before string, err error) {
	for _, name := range []string{"preinstall", "install", "postinstall", "prestart", "start"} {
		if tool := s.missingTool(p, name); tool != "" {
			return "", fmt.Errorf("scripts.%s in package.json of %s needs %s, which is of devDependencies and not in "+
				"the image; move it to dependencies, or write a Dockerfile there", name, s.Dir, tool)
		}
	}
	for _, name := range []string{"preprepare", "prepare", "postprepare"} {
		if s.missingTool(p, name) != "" {
			before += "npm pkg delete scripts." + name + " && "
		}
	}
	return before, nil
}

// tools names the programs of packages that are called otherwise than the package.
var tools = map[string]string{
	"@babel/cli":      "babel",
	"@babel/node":     "babel-node",
	"@biomejs/biome":  "biome",
	"@commitlint/cli": "commitlint",
	"@nestjs/cli":     "nest",
	"@swc/cli":        "swc",
	"typescript":      "tsc",
}

var (
	scriptWord = regexp.MustCompile(`[\w@./-]+`)
	otherRun   = regexp.MustCompile(`\b(?:npm|yarn|pnpm)(?: run| run-script)? +([\w:.-]+)`)
)

// missingTool returns the package of devDependencies that a script runs, itself or by another
// script, and nothing if it runs none.
func (s *Source) missingTool(p packageJSON, script string, seen ...string) string {
	text := p.Scripts[script]
	if slices.Contains(seen, script) {
		return ""
	}
	for _, word := range scriptWord.FindAllString(text, -1) {
		word = strings.TrimPrefix(strings.TrimPrefix(word, "./"), "node_modules/.bin/")
		for _, name := range slices.Sorted(maps.Keys(p.DevDependencies)) {
			_, kept := p.Dependencies[name]
			named := word == name || word == tools[name] || strings.HasPrefix(word, name+"/")
			if named && !kept && !s.has(word) {
				return name
			}
		}
	}
	for _, m := range otherRun.FindAllStringSubmatch(text, -1) {
		if tool := s.missingTool(p, m[1], append(seen, script)...); tool != "" {
			return tool
		}
	}
	return ""
}

// plainNode matches start scripts that need no shell.
var plainNode = regexp.MustCompile(`^node( +[\w./=:@-]+)+$`)

// nodeCommand runs node itself wherever it can: npm would stand between it and
// SIGTERM.
func (s *Source) nodeCommand(p packageJSON) ([]string, error) {
	start := strings.TrimSpace(p.Scripts["start"])
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
