package access

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
)

var (
	errNoWrite  = errors.New("this client may only read")
	errNoDelete = errors.New("nothing is deleted over the network: remove images on the manager with `crawlbox " +
		"images rm`")
)

// unauthenticatedError is the error for a request that did not prove who it is.
type unauthenticatedError struct {
	message string
	token   bool // it had a token, which is not valid
}

func (e *unauthenticatedError) Error() string { return e.message }

// rateLimitedError is the error for an address that has to wait.
type rateLimitedError struct {
	message string
	retry   time.Duration
}

func (e *rateLimitedError) Error() string {
	return fmt.Sprintf("%s: try again in %d s", e.message, e.seconds())
}

func (e *rateLimitedError) seconds() int { return max(1, int(math.Ceil(e.retry.Seconds()))) }

// refuse answers in the registry API's form, and with the way in where there is
// one. The Host header was checked before.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	// Without it Docker 20.10 takes the answer for that of a registry of 2014.
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	code, message := errcode.ErrorCodeDenied, err.Error()
	var wait *rateLimitedError
	var who *unauthenticatedError
	switch {
	case errors.As(err, &wait):
		code = errcode.ErrorCodeTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(wait.seconds()))
	case errors.As(err, &who):
		code = errcode.ErrorCodeUnauthorized
		w.Header().Set("WWW-Authenticate", challenge(r, who.token))
	}
	if errors.Is(err, errNoWrite) || who != nil && !who.token {
		message += ": run `docker login " + r.Host +
			"` with the user and password that `crawlbox registry login` on the manager issues"
	}
	_ = errcode.ServeJSON(w, code.WithMessage(message))
}

// challenge says where tokens are. It names no scope: a token has all rights of
// its holder, and the scope would be text of a stranger in a header. A client that asks for no
// tokens is asked for user and password.
func challenge(r *http.Request, invalid bool) string {
	if usesNoTokens(r) {
		return fmt.Sprintf(`Basic realm=%q`, service)
	}
	c := fmt.Sprintf(`Bearer realm=%q,service=%q`, "https://"+r.Host+tokenPath, service)
	if invalid {
		// At this containerd forgets the token and asks for another (RFC 6750).
		c += `,error="invalid_token"`
	}
	return c
}
