package access

import "net/http"

// Local guards the registry's port on loopback, which is for the machine's
// Docker Engine and not for each process on the machine. owner reports whether the
// engine is at the other end of a request's connection; its error is what the
// others are told. It is called once for each request. host reports whether a Host
// header names this port.
func Local(h http.Handler, host func(hostport string) bool, owner func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := checkOrigin(r, host)
		if err == nil {
			err = owner(r)
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}
