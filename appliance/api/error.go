package api

import (
	"errors"
	"fmt"
	"net/http"
)

// Codes of an Error.
const (
	CodeInvalid     = "invalid"     // the request is wrong
	CodeNotFound    = "not_found"   // what it names does not exist
	CodeConflict    = "conflict"    // not in this state
	CodeUnavailable = "unavailable" // Docker or the manager is away
	CodeNotManager  = "not_manager" // ask a manager
	CodeFailed      = "failed"      // it was tried and did not come true
	CodeInternal    = "internal"
)

var statusOf = map[string]int{
	CodeInvalid:     http.StatusBadRequest,
	CodeNotFound:    http.StatusNotFound,
	CodeConflict:    http.StatusConflict,
	CodeUnavailable: http.StatusServiceUnavailable,
	CodeNotManager:  http.StatusMisdirectedRequest,
	CodeFailed:      http.StatusInternalServerError,
	CodeInternal:    http.StatusInternalServerError,
}

// Error is the API's answer when it cannot do what was asked. Message is
// one line: what, where, what to do.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// status returns the HTTP status of an answer that is e.
func (e *Error) status() int {
	if status, ok := statusOf[e.Code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// AsError returns the *Error in err's chain, or wraps err as an internal one.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// Invalid returns the error of a request that is wrong.
func Invalid(format string, args ...any) error {
	return &Error{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// Conflict returns the error of a request that can't be met in the state that things are in.
func Conflict(format string, args ...any) error {
	return &Error{Code: CodeConflict, Message: fmt.Sprintf(format, args...)}
}

// NotFound returns the error of a request that names what does not exist.
func NotFound(format string, args ...any) error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf(format, args...)}
}
