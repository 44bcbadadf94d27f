package sandbox

import (
	"errors"
	"slices"
	"syscall"
)

// Isolation says which namespaces a process is started in.
type Isolation int

const (
	// Plain are namespaces of the parent's user namespace, which take CAP_SYS_ADMIN.
	Plain Isolation = iota
	// Own are namespaces below a user namespace of their own. A service of systemd without
	// CAP_SYS_ADMIN can have them. Root of the machine, also in a container that sees its
	// processes, has all rights over what is in it.
	Own
	// None is the parent's.
	None
)

// Weaker returns what to try next.
func (i Isolation) Weaker() Isolation { return min(i+1, None) }

const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC

// Forbidden reports whether a start failed for its namespaces: the kernel, the container
// around or the rights of the parent do not allow them.
func Forbidden(err error) bool {
	return slices.ContainsFunc([]error{
		syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSYS, syscall.ENOSPC, syscall.EUSERS,
	},
		func(e error) bool { return errors.Is(err, e) })
}

// Apply sets what the process gets at its start, which is root's until it calls
// [Confine] and the user uid with the group gid afterwards: in the user namespace
// there is no other.
func (i Isolation) Apply(attr *syscall.SysProcAttr, uid, gid int) {
	switch i {
	case Own:
		attr.Cloneflags |= syscall.CLONE_NEWUSER | namespaces
		attr.UidMappings = identity(uid)
		attr.GidMappings = identity(gid)
		attr.GidMappingsEnableSetgroups = true // it gives up its groups
	case Plain:
		attr.Cloneflags |= namespaces
	}
}

func identity(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: id, HostID: id, Size: 1}}
}
