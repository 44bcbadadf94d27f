package token

import "errors"

// A join token is refused with one of these. Each says what to do.
var (
	ErrUnknownToken = errors.New("the manager does not know this join token: print a new one there with " +
		"`crawlbox token`")
	ErrBadSecret = errors.New("the secret in the join token is wrong: print it again on the manager with " +
		"`crawlbox token`")
	ErrExpiredToken = errors.New("the join token has expired: print a new one on the manager with `crawlbox token`")
	ErrRevoked      = errors.New("the join token was revoked: print a new one on the manager with `crawlbox token`")
	ErrUsedUp       = errors.New("the join token has reached its use limit: print a new one on the manager with " +
		"`crawlbox token`")
	ErrWrongRole = errors.New("the join token is for another role: print the right one on the manager with `crawlbox " +
		"token worker` or `crawlbox token manager`")
)
