package e2e

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// warm uses so many bytes of memory and frees them. A virtual machine gives back to
// its host what is free for some seconds, and who wants it again pays for that: 3 s for
// a GB where it takes 0.3 s else. The first way of a round would pay for the others.
// It takes half of what is free at the most.
func warm(b *testing.B, bytes int) {
	b.Helper()
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		b.Fatal(err)
	}
	bytes = min(bytes, int(info.Freeram)*int(info.Unit)/2)
	m, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(m); i += os.Getpagesize() {
		m[i] = 1
	}
	if err := unix.Munmap(m); err != nil {
		b.Fatal(err)
	}
}
