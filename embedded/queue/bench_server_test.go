package queue

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

func startBenchQueue(b *testing.B) redisServer {
	b.Helper()
	_, server := startChild(b, b.TempDir())
	return server
}

// rss returns the bytes of a process in memory.
func rss(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(data), "VmRSS:")
	fields := strings.Fields(after)
	if !ok || len(fields) == 0 {
		return 0, errors.New("no VmRSS")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}
