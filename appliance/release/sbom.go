// Package release is for those who build crawlbox, not for those who run it: it
// says what a binary is made of. The binary itself has nothing of it: no server has
// to describe its own parts.
package release

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// The parts of a CycloneDX 1.5 document that are used here, see
// https://cyclonedx.org/docs/1.5/json/.
type (
	document struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Serial     string      `json:"serialNumber"`
		Version    int         `json:"version"` // of the document
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Ref        string     `json:"bom-ref"`
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// SBOM writes what the Go program at path is made of, as CycloneDX JSON: its modules
// and the standard library, from what the Go linker has put into it. The version is
// that of the program, which it does not say of itself. The same program gives the
// same bytes: there is no time in it, and its serial number is that of the content.
func SBOM(w io.Writer, path, version string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what %s is made of: %w", path, err)
	}
	sum, err := checksum(path)
	if err != nil {
		return err
	}
	doc := document{
		Format:     "CycloneDX",
		Spec:       "1.5",
		Version:    1,
		Serial:     serial(sum),
		Metadata:   metadata{Component: program(info, version, sum)},
		Components: components(info),
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func program(info *debug.BuildInfo, version string, sum []byte) component {
	c := library(info.Main.Path, version)
	c.Type, c.Hashes = "application", []hash{{"SHA-256", hex.EncodeToString(sum)}}
	for _, s := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "CGO_ENABLED", "-tags"}, s.Key) {
			c.Properties = append(c.Properties, property{"build:" + s.Key, s.Value})
		}
	}
	return c
}

func components(info *debug.BuildInfo) []component {
	list := []component{library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		c := library(module.Path, module.Version)
		if module.Sum != "" {
			c.Properties = []property{{"go.sum", module.Sum}}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b component) int { return cmp.Compare(a.PURL, b.PURL) })
	return list
}

func library(path, version string) component {
	purl := "pkg:golang/" + path + "@" + version
	return component{
		Ref:     purl,
		Type:    "library",
		Name:    path,
		Version: version,
		PURL:    purl,
	}
}

// serial makes a UUID of a checksum, of version 8 (RFC 9562): bits of one's own.
func serial(sum []byte) string {
	u := slices.Clone(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func checksum(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return h.Sum(nil), nil
}
