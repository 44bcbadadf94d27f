// Command sbom prints what a Go program is made of, as CycloneDX JSON. It is a program
// of its own, run by make dist, so that the binaries that it describes have no part of it.
package main

import (
	"fmt"
	"os"

	"github.com/crawlbox/crawlbox/appliance/release"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM VERSION")
		os.Exit(2)
	}
	if err := release.SBOM(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}
