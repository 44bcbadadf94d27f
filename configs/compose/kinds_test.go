package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/configs/document"
)

// places returns a file for every key that is honoured, by its full name, with %s for its value.
func places() map[string]string {
	const head = "services:\n  a:\n    image: i\n"
	const tail = "\nvolumes: {v: {}}\nnetworks: {n: {external: true}}\nsecrets: {s: {file: f}}\n"
	files := map[string]string{}
	// What values need beside them, by the place of their mapping.
	neighbours := map[string][]string{
		"build":           {"context: ."},
		"build.secrets.*": {"source: s"},
		"env_file.*":      {"path: f", "required: false"},
		"ulimits.*":       {"soft: 1", "hard: 1"},
		"volumes.*":       {"type: volume", "target: /t"},
	}
	with := func(path []string, name, text string) string {
		all := []string{name + ": " + text}
		for _, n := range neighbours[strings.Join(path, ".")] {
			if !strings.HasPrefix(n, name+":") {
				all = append(all, n)
			}
		}
		return "{" + strings.Join(all, ", ") + "}"
	}
	below := func(path []string, known rules) {
		for name, rule := range known {
			if rule.is == nil {
				continue
			}
			text := with(path, name, "%s")
			for i := len(path) - 1; i >= 0; i-- {
				switch {
				case path[i] == "*" && path[i-1] == "ulimits":
					text = "{nofile: " + text + "}"
				case path[i] == "*" && path[i-1] == "networks":
					text = "{n: " + text + "}"
				case path[i] == "*":
					text = "[" + text + "]"
				default:
					text = with(path[:i], path[i], text)
				}
			}
			// The outermost mapping is the service's.
			text = "    " + strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
			if place := strings.Join(append(slices.Clone(path), name), "."); place == "image" {
				files[place] = "services:\n  a:\n" + text + tail
			} else {
				files[place] = head + text + tail
			}
		}
	}
	below(nil, serviceRules)
	for place, known := range nestedRules {
		below(strings.Split(place, "."), known)
	}
	for section, known := range definitionRules {
		for name, rule := range known {
			if rule.is != nil {
				files[section+"."+name] = head + section + ": {x: {" + name + ": %s}}\n"
			}
		}
	}
	return files
}

// oddities are values of every type, some of which every key refuses.
var oddities = []string{
	"null", "", "true", "yes", "0", "5", "-1", "1.5", "3.0", "0x10", "0o17", "1e400", "99999999999999999999",
	".nan", ".inf", "2024-01-01", "x", "\"\"", "\" \"", "x y", "'5'", "'1.5'", "'-1'",
	"'1e3'", "5s", "'5'", "-5s", "1x", "5M", "64M", "1e30g",
	"/a", "./a", "a:b", "/a:/b:ro", "/a:/b:rx", "':'", "v:/v", "none:/v", "a=b", "a==b",
	"=b", "node.role==manager", "\"sh -c 'a\"", "'`'", "'$x'", "'${x'", "'${x:-5}'", "'{{'",
	"'{{.Node.ID}}'", "'{{.Foo}}'", "'{{range 9}}'", "10.0.0.1", "db:10.0.0.1", "'db:[::1]'", "\"a\\0b\"",
	"\"a\\nb\"", "[]", "[null]", "[5]", "[true]", "[x]", "[x, x]", "[a=b, a=b]", "[=b]", "['a =b']",
	"[[x]]", "[{}]", "[{a: b}]", "[NONE]", "[CMD]", "[n]", "[n, n]", "[s]", "['/a']", "['/a', '/a/']",
	"['/a:size=x']", "['/a:mode=9']", "['v:/v']", "['/x:/v', '/y:/v']", "[{type: bind}]",
	"[{type: volume, source: v, target: /v}]", "[{type: tmpfs, target: /v, tmpfs: {size: -1, mode: 99999}}]", "{}",
	"{a: null}", "{a: 5}", "{a: true}", "{a: x}", "{a: [x]}", "{a: {b: c}}", "{'': x}", "{'a b': x}",
	"{n: null}", "{n: {}}", "{nofile: 5}", "{nofile: 5.0}", "{nofile: {soft: 1, hard: 2}}",
	"{x-a: b}", "{context: .}", "{name: x}", "vip", "global", "host", "any", "pause", "stop-first", "rslave", "s",
	"bind", "volume", "f", "{crawlbox.a: b}", "!foo x", "!!binary aGk=", "!!int x", "!!bool x",
	"!!str 5", "!!null x",
}

// TestKinds_EveryValueAtEveryKey gives every key values of every type. What is wrong has to be told
// in words and by the line of the key, before compose-go has to be asked.
func TestKinds_EveryValueAtEveryKey(t *testing.T) {
	t.Parallel()
	dir := withFile(t)
	for place, file := range places() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			refused := 0
			for _, odd := range oddities {
				errs := readText(dir, fmt.Sprintf(file, odd))
				for _, err := range errs {
					if bad := wrongWords(err); bad != "" {
						t.Errorf("%s: %s: %s", odd, bad, err)
					}
				}
				if len(errs) > 0 {
					refused++
				}
			}
			if refused == 0 || refused == len(oddities) {
				t.Errorf("it refuses %d of %d values", refused, len(oddities))
			}
		})
	}
}

// withFile returns a directory with the empty file f.
func withFile(t testing.TB) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readText(dir, text string) []*document.Error {
	p := &document.Problems{File: filepath.Join(dir, "crawlbox.yaml")}
	if root := document.Parse([]byte(text), p); root != nil {
		Read(root, false, p)
	}
	return p.Errs
}

// wrongWords says what is wrong with an error of the file.
func wrongWords(err *document.Error) string {
	switch raw := testenv.Raw(err.Error()); {
	case len(raw) > 0:
		return fmt.Sprintf("raw words %q", raw)
	case strings.Contains(err.Reason, "Compose does not"), strings.Contains(err.Reason, "Compose has"):
		return "compose-go had to be asked"
	case err.Line == 0:
		return "no line"
	case strings.Contains(err.Error(), "\n"):
		return "more than a line"
	}
	return ""
}

// FuzzValue looks for values that a kind lets through, and compose-go or Docker would not take.
func FuzzValue(f *testing.F) {
	files, dir := places(), withFile(f)
	names := slices.Sorted(maps.Keys(files))
	for i := range names {
		f.Add(uint(i), oddities[i%len(oddities)])
	}
	f.Fuzz(func(t *testing.T, i uint, value string) {
		place := names[i%uint(len(names))]
		defer time.AfterFunc(20*time.Second, func() { panic("no end of it") }).Stop()
		for _, err := range readText(dir, strings.Replace(files[place], "%s", value, 1)) {
			if bad := wrongWords(err); bad != "" {
				t.Errorf("%s: %s: %s", place, bad, err)
			}
		}
	})
}
