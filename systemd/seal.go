package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// sealPlace is where templates have the seal.
	sealPlace = "#SEAL"
	sealStart = "# Written by `crawlbox install`, sha256 "
	sealEnd   = "\n# An edited unit is left alone; better are drop-ins: systemctl edit crawlbox\n"
)

// seal puts the checksum of a unit in front of it.
func seal(text string) string {
	body := strings.TrimPrefix(text, sealPlace+"\n")
	return sealStart + checksum(body) + sealEnd + body
}

// IsOurs reports whether a unit file is as crawlbox, of whatever version, wrote it.
func IsOurs(text string) bool {
	rest, ok := strings.CutPrefix(text, sealStart)
	if !ok {
		return false
	}
	sum, body, ok := strings.Cut(rest, sealEnd)
	return ok && sum == checksum(body)
}

func checksum(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}
