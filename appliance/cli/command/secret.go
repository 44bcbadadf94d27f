package command

import "regexp"

// JoinText matches a join token in other text, as it was given or quoted. It
// takes too much rather than too little.
var JoinText = regexp.MustCompile(`(?i)CBX[0-9]*-[0-9A-Z\s\\]{8,}`)

// WithoutJoin returns text in which no join token can be read.
func WithoutJoin(text string) string { return JoinText.ReplaceAllString(text, "CBX1-…") }
