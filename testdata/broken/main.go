// Command broken passes for a crawlbox until it is to run a node.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println(`{"version":"0.0.0-broken"}`)
		return
	}
	fmt.Fprintln(os.Stderr, "crawlbox: this version is broken")
	os.Exit(1)
}
