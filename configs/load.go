package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Option overrides settings from above the file and the environment.
type Option func(*settings)

// Set sets one key, such as "registry.port", to text. origin is what errors
// name as the place, such as "--registry-port". A key that [Keys] does not have
// is an error of Load.
func Set(name, value, origin string) Option {
	return func(s *settings) { s.override(name, value, origin) }
}

// Flags takes every flag that the user gave and whose name is a key with
// dashes: --registry-port sets registry.port, and --queue turns the queue on.
// Other flags are left to others.
func Flags(fs *pflag.FlagSet) Option {
	return func(s *settings) {
		fs.Visit(func(f *pflag.Flag) {
			for _, name := range append(Keys(), queueEnabled) {
				if flagName(name) == f.Name {
					s.override(name, f.Value.String(), "--"+f.Name)
				}
			}
		})
	}
}

// Load reads the file at path, or [DefaultPath] if path is empty, which need
// not exist. It returns every problem it finds, joined, each an [*Error] of one
// line, and with an error no Config. It reads no other file but each service's
// env_file, and opens no connection.
func Load(path string, opts ...Option) (Config, error) {
	if path == "" {
		return load(DefaultPath, true, opts)
	}
	return load(path, false, opts)
}

func load(path string, optional bool, opts []Option) (Config, error) {
	file, err := filepath.Abs(path)
	if err != nil {
		return Config{}, fmt.Errorf("find config file: %w", err)
	}
	data, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) && !optional {
		return Config{}, fmt.Errorf("config file %s does not exist; make one with `crawlbox config init`, or name another with --config: %w", file, fs.ErrNotExist)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("read config file: %w", err)
	}
	return Parse(file, data, opts...)
}

// Parse is [Load] for a file that was read already: data is its content, and
// file its absolute path, which errors name and relative paths start from.
func Parse(file string, data []byte, opts ...Option) (Config, error) {
	return parse(&problems{file: file}, data, opts)
}

func parse(p *problems, data []byte, opts []Option) (Config, error) {
	root := parseYAML(data, p)
	if len(p.errs) > 0 {
		return Config{}, p.err()
	}
	s := newSettings(p)
	for _, opt := range opts {
		opt(s)
	}
	s.readFile(root)
	cfg := s.config()
	cfg.File = p.file
	cfg.Services = readServices(root, p)
	checkDestinations(cfg, p)
	if err := p.err(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// readBounded reads a regular file, up to one byte more than allowed: whoever
// parses it says that it is too large. A pipe or a device could block for ever.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("is not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// isExtension tells whether a key is a fragment that Compose leaves to its
// users. x-crawlbox is crawlbox's own, and reserved.
func isExtension(name string) bool {
	return strings.HasPrefix(name, "x-") && name != reservedKey
}

// reservedKey is where what Compose lacks goes.
const reservedKey = "x-crawlbox"

func (p *problems) checkReserved(e entry) {
	if isNull(e.value) {
		return
	}
	if e.value.Kind != yaml.MappingNode {
		p.addf(e.line, "%s is a mapping", reservedKey)
	}
	for _, child := range entries(e.value) {
		p.addf(child.line, "unknown key %q: crawlbox has no extensions of Compose", reservedKey+"."+child.name)
	}
}
