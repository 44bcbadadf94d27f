package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"

	"golang.org/x/vuln/scan"
)

// vulnerabilitiesCommand makes this program govulncheck.
const vulnerabilitiesCommand = "vulnerabilities"

// reachTimeout bounds how long the database of vulnerabilities takes to answer.
const reachTimeout = 10 * time.Second

// vulnerabilities looks for code that is known to be vulnerable and is called. Where
// the database can't be reached it says so in one line, and finds nothing.
func vulnerabilities() (findings int, err error) {
	db := os.Getenv("GOVULNDB")
	if db == "" {
		db = "https://vuln.go.dev"
		if err := reach(db + "/index/db.json"); err != nil {
			fmt.Printf("lint: vulnerabilities are not looked for: %v\n", err)
			return 0, nil
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// In a process of its own: it takes much memory.
	cmd := exec.Command(self, vulnerabilitiesCommand, "-db", db, "./...")
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stdout.Write(bytes.TrimSpace(out))
		fmt.Println()
		return 1, nil
	}
	return 0, nil
}

func findVulnerabilities() (code int) {
	cmd := scan.Command(context.Background(), os.Args[2:]...)
	err := cmd.Start()
	if err == nil {
		err = cmd.Wait()
	}
	var exit interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// reach asks for the head of what is at a URL.
func reach(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
