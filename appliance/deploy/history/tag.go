package history

import (
	"fmt"
	"regexp"
	"strconv"
)

// The lengths keep both numbers within an int.
var tagForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})\.([0-9]{2,9})$`)

// NextTag returns the tag after the highest of the form 0.01 among those that
// exist, or 0.01 where there is none: 0.09, 0.10, …, 0.99, 1.00. Tags of other
// forms do not count. The second number keeps its width.
func NextTag(existing []string) string {
	major, minor, width := 0, 0, 2
	for _, tag := range existing {
		parts := tagForm.FindStringSubmatch(tag)
		if parts == nil {
			continue
		}
		// The form leaves nothing that Atoi can't read.
		a, _ := strconv.Atoi(parts[1])
		b, _ := strconv.Atoi(parts[2])
		if a > major || a == major && b >= minor {
			major, minor, width = a, b, len(parts[2])
		}
	}
	next := fmt.Sprintf("%0*d", width, minor+1)
	if len(next) > width {
		return fmt.Sprintf("%d.%0*d", major+1, width, 0)
	}
	return fmt.Sprintf("%d.%s", major, next)
}
