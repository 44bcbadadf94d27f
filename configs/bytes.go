package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Bytes is a size. It is written as people write disk sizes: 10GB is 10^10
// bytes, 10GiB is 10*2^30.
type Bytes int64

const (
	megabyte Bytes = 1_000_000
	gigabyte Bytes = 1000 * megabyte
)

// ParseBytes reads a size such as 256MB, 10GiB or 1048576.
func ParseBytes(text string) (Bytes, error) {
	parse := units.FromHumanSize
	if strings.ContainsAny(text, "iI") {
		parse = units.RAMInBytes
	}
	size, err := parse(strings.TrimSpace(text))
	if err != nil || size < 0 || size == math.MaxInt64 {
		return 0, fmt.Errorf("must be a size such as 256MB or 10GiB, not %q", text)
	}
	return Bytes(size), nil
}

var byteUnits = []struct {
	size Bytes
	name string
}{
	{1000 * gigabyte, "TB"}, {1 << 40, "TiB"}, {gigabyte, "GB"}, {1 << 30, "GiB"},
	{megabyte, "MB"}, {1 << 20, "MiB"}, {1000, "kB"}, {1 << 10, "KiB"},
}

// String writes the size exactly, so that ParseBytes reads the same one back.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}
