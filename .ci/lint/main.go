// Command lint checks the whole module: how files are formatted, what a set of
// analysers has to say, and whether it uses anything with a known vulnerability.
//
// It is a program and a module of its own, so that neither go.mod nor the binary
// has to carry it, and holds a dozen analysers in place of a hundred: it is built
// in a tenth of the time that a collection such as golangci-lint takes. The
// dependencies between packages are not its business: the table in
// appliance/architecture_test.go holds them.
//
// A finding that is meant to be is silenced on the line above it, with the reason:
//
//	//lint:ignore errcheck it only removes what was not kept
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == vulnerabilitiesCommand {
		os.Exit(findVulnerabilities())
	}
	code := 0
	for _, check := range []func() (findings int, err error){unformatted, analyse, unusedParameters, vulnerabilities} {
		findings, err := check()
		if err != nil {
			fmt.Fprintln(os.Stderr, "lint:", err)
		}
		if err != nil || findings > 0 {
			code = 1
		}
	}
	os.Exit(code)
}
