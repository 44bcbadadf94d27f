package sandbox

import (
	"fmt"
	"runtime"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// allowed lists the system calls of a server that accepts connections on sockets which
// it has, and reads and writes files below its root. What is not here fails with
// EPERM. A kernel for another processor does not have all of them.
var allowed = []string{
	// Go's runtime.
	"mmap", "mprotect", "munmap", "mremap", "madvise", "mincore", "brk", "membarrier", "futex", "set_robust_list",
	"rseq", "arch_prctl", "set_tid_address",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "getpid", "gettid", "sched_yield",
	"sched_getaffinity", "restart_syscall",
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "timer_create",
	"timer_settime", "timer_delete", "setitimer",
	"exit", "exit_group", "getrandom", "uname", "sysinfo", "getrusage", "getrlimit", "prlimit64",
	"getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe2", "poll", "ppoll",
	"select", "pselect6",
	// Connections.
	"accept", "accept4", "getsockopt", "setsockopt", "getsockname", "getpeername", "shutdown", "recvfrom", "recvmsg",
	"sendto", "sendmsg", "listen",
	"read", "write", "readv", "writev", "close", "close_range", "dup", "dup3", "fcntl",
	// Files.
	"open", "openat", "openat2", "creat", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs",
	"access", "faccessat", "faccessat2", "readlink", "readlinkat",
	"lseek", "pread64", "pwrite64", "preadv", "pwritev", "fsync", "fdatasync", "syncfs", "sync_file_range", "truncate",
	"ftruncate", "fallocate", "fadvise64",
	"rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "link", "linkat", "chmod",
	"fchmod", "fchmodat", "fchmodat2",
	"getdents64", "getcwd", "flock", "umask", "utimensat", "copy_file_range", "sendfile", "splice",
}

// filter puts the allow-list on all threads, for good.
func filter(Options) error {
	kernel, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{
		// What it wants lies in memory, which a filter cannot see; the caller falls back on
		// clone.
		{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: known(kernel, []string{"clone3"})},
		// A call with conditions has to be the last: what is compared after them is no
		// longer the number of the call.
		{Action: seccomp.ActionAllow, Names: known(kernel, allowed), NamesWithCondtions: []seccomp.NameWithConditions{{
			Name: "clone", Conditions: seccomp.ArgumentConditions{ // a thread; a process has other flags
				{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
				{Argument: 0, Operation: seccomp.BitsNotSet, Value: newNamespace},
			},
		}}},
	}}
	runtime.LockOSThread() // no_new_privs is of a thread, and so is the right to filter
	defer runtime.UnlockOSThread()
	if err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy:     policy,
	}); err != nil {
		return fmt.Errorf("load it: %w", err)
	}
	return nil
}

const newNamespace = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

func known(kernel *arch.Info, names []string) (list []string) {
	for _, name := range names {
		if _, ok := kernel.SyscallNames[name]; ok {
			list = append(list, name)
		}
	}
	return list
}
