package access

import (
	"errors"
	"fmt"
	"net/http"
)

// errBrowser is for requests that only browsers make.
var errBrowser = errors.New("the registry does not serve web pages: use docker, or a client that sends no Origin")

// checkOrigin refuses what a web page made a browser send, also by way of a host
// name that the page's owner turned to this address.
func checkOrigin(r *http.Request, ours func(hostport string) bool) error {
	if len(r.Header.Values("Origin")) > 0 {
		return errBrowser
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" {
			return errBrowser
		}
	}
	if r.Host == "" || !ours(r.Host) {
		return fmt.Errorf("the registry is not called %.100q: use the manager's address, or localhost on a node",
			r.Host)
	}
	return nil
}
