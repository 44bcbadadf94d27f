package cli

import (
	"os"
	"strings"
	"unsafe"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// Args returns the arguments of this process, without the program's name, and
// blanks the join token among them where `ps` and /proc/PID/cmdline read it: in
// the memory that the kernel gave the process for its arguments, at which the
// strings of os.Args point on Linux. It must be called once, before all else:
// os.Args is changed. Between the start of the process and this call the string
// can be seen; --join-file has no such moment.
func Args() []string {
	args := make([]string, 0, len(os.Args))
	for i, arg := range os.Args[1:] {
		args = append(args, strings.Clone(arg))
		if from := secretFrom(os.Args[i], arg); from >= 0 {
			clear(unsafe.Slice(unsafe.StringData(arg), len(arg))[from:])
		}
	}
	return args
}

// secretFrom returns the index in arg, which follows before, where a join token begins, or
// -1. What --join is given is one even if it is damaged.
func secretFrom(before, arg string) int {
	const flag = "--join="
	switch {
	case arg == "":
		return -1
	case before == "--join":
		return 0
	case strings.HasPrefix(arg, flag):
		return len(flag)
	}
	if found := command.JoinText.FindStringIndex(arg); found != nil {
		return found[0]
	}
	return -1
}
