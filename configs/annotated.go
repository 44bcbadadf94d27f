package configs

import _ "embed"

// Annotated is a config file that shows every key with its default, commented
// out, so that it means the same as no file at all.
//
//go:embed crawlbox.yaml
var Annotated string
