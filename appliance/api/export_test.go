package api

import (
	"slices"
	"time"
)

// Streams returns the routes of areas that answer a stream, sorted.
func Streams(areas []Area) (routes []string) {
	for _, area := range areas {
		for pattern, route := range area {
			if route.streams {
				routes = append(routes, pattern)
			}
		}
	}
	slices.Sort(routes)
	return routes
}

func init() { patience = 5 * time.Second }
