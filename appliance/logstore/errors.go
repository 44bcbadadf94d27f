package logstore

import "strings"

// signs are parts of words by which lines tell of errors, without their first letter, which may be a capital.
var signs = []string{
	"ERROR", "rror:", "rror ", "xception", "CRITICAL", "FATAL", "atal:", "atal ", "raceback", "anic:", "egmentation",
	"illed", "level=error", "level=fatal", `"error"`, "EMERG", "ALERT",
}

// IsError reports whether a line tells of an error, as most programs and libraries write them. A line that does not
// may be taken for one: what it costs is a place among those that managers keep.
func IsError(text string) bool {
	for _, sign := range signs {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
