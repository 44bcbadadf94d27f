package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/configs/compose"
	"github.com/crawlbox/crawlbox/configs/document"
)

// Option overrides settings from above the file and the environment.
type Option func(*settings)

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

// Checking has it looked whether what the file names is there: the directories for builds, which a node does without
// until something is built, and files with passwords. odd is told of what a node takes and nobody means, an error of
// one line each; nil: nobody is.
func Checking(odd func(error)) Option {
	return func(s *settings) { s.checking, s.odd = true, odd }
}

// Load reads the file at path, or [DefaultPath] if path is empty, which need
// not exist. It returns every problem it finds, joined, each a [*document.Error] of one
// line, and with an error no Config. It reads no other file but each service's
// env_file and, with [Checking], those of the queue. It opens no connection.
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
	data, err := document.ReadBounded(file)
	if errors.Is(err, fs.ErrNotExist) && !optional {
		return Config{}, words.Error(fs.ErrNotExist, "config file %s does not exist; make one with `crawlbox config "+
			"init --file %s`, or name another", file, file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("the config file cannot be read: %w", err)
	}
	return Parse(file, data, opts...)
}

// Parse is [Load] for a file that was read already: data is its content, and
// file its absolute path, which errors name and relative paths start from.
func Parse(file string, data []byte, opts ...Option) (Config, error) {
	cfg, _, err := parse(file, data, opts)
	return cfg, err
}

// parse also returns the files that services name in env_file, as far as they could
// be read where there is an error.
func parse(file string, data []byte, opts []Option) (cfg Config, envFiles []string, err error) {
	p := &document.Problems{File: file}
	root := document.Parse(data, p)
	if err := p.Err(); err != nil && root == nil {
		return Config{}, nil, err
	}
	s := newSettings(p)
	for _, opt := range opts {
		opt(s)
	}
	s.readFile(root)
	cfg = s.config()
	cfg.File = file
	cfg.Services, envFiles = compose.Read(root, s.checking, p)
	cfg.Schedules = readSchedules(root, p)
	cfg.Alerts = readAlerts(root, p)
	compose.CheckDestinations(cfg.Services, cfg.Registry.Port, p)
	if err := p.Err(); err != nil {
		return Config{}, envFiles, err
	}
	return cfg, envFiles, nil
}
