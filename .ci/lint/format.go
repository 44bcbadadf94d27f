package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/imports"
)

// local are the imports that stand last, after those of others.
const local = "github.com/crawlbox/crawlbox"

// unformatted names the files that gofmt or goimports would write otherwise.
func unformatted() (findings int, err error) {
	imports.LocalPrefix = local
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		formatted, err := imports.Process(path, text,
			&imports.Options{FormatOnly: true, Comments: true, TabIndent: true, TabWidth: 8})
		if err != nil {
			return err
		}
		if !bytes.Equal(text, formatted) {
			findings++
			fmt.Printf("%s: not formatted; goimports -local %s -w %s does it\n", path, local, path)
		}
		return nil
	})
	return findings, err
}
