package sockowner

import (
	"bufio"
	"bytes"
	encoding "encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is read of another network namespace, in bytes: whoever is root in a container may
// have its tables as long as it likes.
const (
	maxRoutes     = 1 << 20
	maxOtherTable = 32 << 20
)

// End is one end of a connection, by its own address and the other's, as in Holder.
type End struct{ Local, Remote netip.AddrPort }

// Owner says which of some processes has an end open.
type Owner struct {
	PID int   // 0: none of them
	Err error // why that is not known; nil where PID is not 0
}

// Among returns for each of some ends which of some processes has it open, whatever network
// namespace that is in. It neither enters a namespace, which takes CAP_SYS_ADMIN, nor asks for
// connections one by one there: it reads the tables that a process of the namespace has in /proc,
// of those namespaces that have the address. Of several processes it is the one that comes first.
func Among(pids []int, ends []End) []Owner {
	owners := make([]Owner, len(ends))
	here, err := namespace("self")
	if err != nil {
		for i := range owners {
			owners[i].Err = fmt.Errorf("find the own network namespace: %w", err)
		}
		return owners
	}
	members := map[string][]int{}
	var order []string
	for _, pid := range pids {
		ns, err := namespace(strconv.Itoa(pid))
		if err != nil {
			continue // it has ended; that it may not be looked at is found below
		}
		if members[ns] == nil {
			order = append(order, ns)
		}
		members[ns] = append(members[ns], pid)
	}
	for _, ns := range order {
		var open open
		for i, e := range ends {
			e = End{unmap(e.Local), unmap(e.Remote)}
			if owners[i].PID == 0 && e.Local.Addr().IsValid() && e.Local.Addr().Is4() == e.Remote.Addr().Is4() {
				open.wanted = append(open.wanted, wanted{e, i})
			}
		}
		if ns == here {
			err = open.findHere()
		} else {
			err = open.findThere(members[ns])
		}
		if err != nil {
			open.fail(owners, err)
			continue
		}
		open.assign(owners, members[ns])
	}
	return owners
}

// wanted is an end that is looked for, and its number.
type wanted struct {
	End
	number int
}

// open collects the sockets of one network namespace that ends were found to be.
type open struct {
	wanted  []wanted
	sockets []socket
	of      []int // the number of the end, for each socket
}

func (o *open) add(w wanted, inode uint32) {
	o.of = append(o.of, w.number)
	o.sockets = append(o.sockets, socket{inode, w.Local, w.Remote})
}

func (o *open) fail(owners []Owner, err error) {
	for _, w := range o.wanted {
		owners[w.number].Err = err
	}
}

// findHere looks into the own namespace.
func (o *open) findHere() error {
	for _, w := range o.wanted {
		s, err := findSocket(w.Local, w.Remote)
		switch {
		case err == nil:
			o.add(w, s.inode)
		case !errors.Is(err, ErrNoSocket):
			return err
		}
	}
	return nil
}

// findThere looks into the namespace that some processes are in, by the first of them that has not
// ended.
func (o *open) findThere(pids []int) error {
	for _, pid := range pids {
		err := o.findBy("/proc/" + strconv.Itoa(pid) + "/net/")
		if !errors.Is(gone(err), errGone) {
			return err
		}
		o.sockets, o.of = nil, nil
	}
	return nil // all have ended, and so have their sockets
}

func (o *open) findBy(dir string) error {
	has, err := addresses(dir)
	if err != nil {
		return err
	}
	byIPv4, byIPv6 := map[string]wanted{}, map[string]wanted{}
	for _, w := range o.wanted {
		if !has[w.Local.Addr()] {
			continue
		}
		byIPv6[hex(w.Local, true)+" "+hex(w.Remote, true)] = w
		if w.Local.Addr().Is4() {
			byIPv4[hex(w.Local, false)+" "+hex(w.Remote, false)] = w
		}
	}
	if len(byIPv6) == 0 {
		return nil
	}
	if err := o.read(dir+"tcp", byIPv4); err != nil {
		return err
	}
	return o.read(dir+"tcp6", byIPv6)
}

// read looks for connections in a table, by their two addresses as they stand there.
func (o *open) read(path string, by map[string]wanted) error {
	width := 0
	for key := range by {
		width = len(key) // that of all
	}
	if width == 0 {
		return nil
	}
	return eachLine(path, maxOtherTable, func(line []byte) {
		// sl: local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		_, line, _ = bytes.Cut(line, []byte(": "))
		if len(line) < width {
			return
		}
		w, ok := by[string(line[:width])]
		if v := strings.Fields(string(line[width:])); ok && len(v) > 6 && v[0] == "01" {
			if inode, err := parseInode(v[6]); err == nil {
				o.add(w, inode)
			}
		}
	})
}

// assign looks for the sockets among the files of processes.
func (o *open) assign(owners []Owner, pids []int) {
	if len(o.sockets) == 0 {
		return
	}
	for _, pid := range pids {
		has, err := opened(pid, o.sockets)
		for k := range o.sockets {
			owner := &owners[o.of[k]]
			switch {
			case has[k] && owner.PID == 0:
				*owner = Owner{PID: pid}
			case err != nil && !errors.Is(err, errGone) && owner.PID == 0:
				owner.Err = fmt.Errorf("look into the open files of process %d: %w", pid, err)
			}
		}
	}
}

// addresses returns those of a network namespace, by a directory such as /proc/PID/net/.
func addresses(dir string) (map[netip.Addr]bool, error) {
	has := map[netip.Addr]bool{}
	var last string
	err := eachLine(dir+"fib_trie", maxRoutes, func(line []byte) {
		text := strings.TrimSpace(string(line))
		if addr, ok := strings.CutPrefix(text, "|-- "); ok {
			last = addr
		} else if text == "/32 host LOCAL" {
			if addr, err := netip.ParseAddr(last); err == nil {
				has[addr] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = eachLine(dir+"if_inet6", maxRoutes, func(line []byte) {
		var addr [16]byte
		if n, err := encoding.Decode(addr[:], line[:min(32, len(line))]); err == nil && n == len(addr) {
			has[netip.AddrFrom16(addr)] = true
		}
	})
	if errors.Is(err, os.ErrNotExist) { // no IPv6 there
		err = nil
	}
	return has, err
}

// eachLine calls fn with each line of a file of the kernel, whose lines are short.
func eachLine(path string, most int64, fn func(line []byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, most))
	for lines.Scan() {
		fn(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// namespace returns the name of a process's network namespace.
func namespace(pid string) (string, error) { return os.Readlink("/proc/" + pid + "/ns/net") }

// Processes returns the processes of this PID namespace.
func Processes() ([]int, error) { return processes() }

// Begun returns when a process began, since the machine booted and in steps of 10 ms, as field 22 of
// proc_pid_stat(5). It tells a process from another that is given its number later. ok is false where
// there is none.
func Begun(pid int) (since time.Duration, ok bool) {
	ticks, err := strconv.ParseInt(begun(pid), 10, 64)
	return time.Duration(ticks) * clockTick, err == nil
}

// clockTick is the kernel's USER_HZ, 100 on all that crawlbox is built for.
const clockTick = time.Second / 100
