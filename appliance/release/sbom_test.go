package release

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestSBOM(t *testing.T) {
	t.Parallel()
	self, err := os.Executable() // a Go program as any
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := SBOM(out, self, "1.2.3"); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("the same program gives two documents")
	}
	var doc document
	if err := json.Unmarshal(first.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(
		`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.Serial) {
		t.Errorf("the serial number is %q", doc.Serial)
	}
	if doc.Metadata.Component.Version != "1.2.3" || len(doc.Metadata.Component.Hashes) != 1 {
		t.Errorf("the program is %+v", doc.Metadata.Component)
	}
	if !slices.ContainsFunc(doc.Components,
		func(c component) bool { return strings.HasPrefix(c.PURL, "pkg:golang/stdlib@1.") }) {
		t.Errorf("the standard library is not among %+v", doc.Components)
	}
}

func TestSBOM_OfNoGoProgram(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := SBOM(&bytes.Buffer{}, path, "1"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
