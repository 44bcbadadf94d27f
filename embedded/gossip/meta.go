package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// Node holds what a node says about itself.
type Node struct {
	ID       string     // unique in the cluster, at most 64 bytes; never empty
	Swarm    string     // its ID in Swarm; empty before it joined
	Name     string     // host name; two nodes may have the same one
	Role     string     // manager or worker
	Version  string     // of crawlbox
	Docker   string     // state of its Docker Engine: running or stopped
	FreeDisk int64      // bytes free under the data directory
	DiskSize int64      // bytes of that disk; 0: it is of a version that does not say
	Queue    string     // QueueHere or QueueAway; empty: it is of a version that does not say
	Addr     netip.Addr // where it gossips; taken from the membership, not from what the node says
}

// Whether a node's own programs reach the cluster's queue there, or will once there is one.
const (
	QueueHere = "here"
	QueueAway = "away"
)

// maxField bounds each text; all of them together stay under memberlist's 512 bytes.
const maxField = 64

// metaVersion stands first. Fields are added with new tags, which older nodes
// skip; the version changes only when they must not read on.
const metaVersion = 1

// Tags of the fields. Each is followed by one byte of length and the value, in
// ascending order, each at most once.
const (
	tagID = iota + 1
	tagSwarm
	tagName
	tagRole
	tagVersion
	tagDocker
	tagFreeDisk
	tagBoot
	tagQueue
	tagDiskSize
)

func (n *Node) texts() map[byte]*string {
	return map[byte]*string{
		tagID: &n.ID, tagSwarm: &n.Swarm, tagName: &n.Name,
		tagRole: &n.Role, tagVersion: &n.Version, tagDocker: &n.Docker, tagQueue: &n.Queue,
	}
}

// encodeMeta packs a node for memberlist. boot is the time this life of the
// node began, in nanoseconds; it tells one life from the next.
func encodeMeta(n Node, boot int64) ([]byte, error) {
	if n.ID == "" {
		return nil, errors.New("node has no ID")
	}
	buf := []byte{metaVersion}
	texts := n.texts()
	for tag := byte(tagID); tag <= tagDiskSize; tag++ {
		switch {
		case tag == tagFreeDisk:
			buf = appendInt(buf, tag, n.FreeDisk)
		case tag == tagDiskSize:
			buf = appendInt(buf, tag, n.DiskSize)
		case tag == tagBoot:
			buf = appendInt(buf, tag, boot)
		case *texts[tag] != "":
			text := *texts[tag]
			if err := checkText(text); err != nil {
				return nil, fmt.Errorf("field %d %q: %w", tag, text, err)
			}
			buf = append(append(buf, tag, byte(len(text))), text...)
		}
	}
	if len(buf) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("description has %d bytes, limit is %d", len(buf), memberlist.MetaMaxSize)
	}
	return buf, nil
}

func appendInt(buf []byte, tag byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(buf, tag, 8), uint64(v))
}

// decodeMeta unpacks what encodeMeta made, from a node that may be hostile.
func decodeMeta(buf []byte) (n Node, boot int64, err error) {
	if len(buf) == 0 || buf[0] != metaVersion {
		return Node{}, 0, errors.New("description is of an unknown version")
	}
	if len(buf) > memberlist.MetaMaxSize {
		return Node{}, 0, errors.New("description is too long")
	}
	texts := n.texts()
	last := byte(0)
	for rest := buf[1:]; len(rest) > 0; {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return Node{}, 0, errors.New("description is cut")
		}
		tag, value := rest[0], rest[2:2+int(rest[1])]
		rest = rest[2+len(value):]
		if tag <= last {
			return Node{}, 0, fmt.Errorf("field %d is out of order", tag)
		}
		last = tag
		switch {
		case texts[tag] != nil:
			*texts[tag] = string(value)
			err = checkText(*texts[tag])
		case tag == tagFreeDisk:
			n.FreeDisk, err = readInt(value)
		case tag == tagDiskSize:
			n.DiskSize, err = readInt(value)
		case tag == tagBoot:
			boot, err = readInt(value)
		}
		if err != nil {
			return Node{}, 0, fmt.Errorf("field %d: %w", tag, err)
		}
	}
	if n.ID == "" {
		return Node{}, 0, errors.New("node has no ID")
	}
	return n, boot, nil
}

func readInt(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("number has %d bytes, want 8", len(value))
	}
	v := int64(binary.BigEndian.Uint64(value))
	if v < 0 {
		return 0, errors.New("number is negative")
	}
	return v, nil
}

// checkText keeps out what would play tricks on the terminal that shows it.
func checkText(s string) error {
	if s == "" || len(s) > maxField {
		return fmt.Errorf("text has %d bytes, want 1 to %d", len(s), maxField)
	}
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.IndexFunc(s, odd) >= 0 {
		return errors.New("text has characters that cannot be shown")
	}
	return nil
}

// A farewell is the message of a node that leaves on purpose: kind, boot, ID.
const farewellKind = 'F'

func encodeFarewell(id string, boot int64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{farewellKind}, uint64(boot)), id...)
}

func decodeFarewell(msg []byte) (id string, boot int64, err error) {
	if len(msg) < 10 || msg[0] != farewellKind {
		return "", 0, errors.New("message is not a farewell")
	}
	id = string(msg[9:])
	if err := checkText(id); err != nil {
		return "", 0, err
	}
	return id, int64(binary.BigEndian.Uint64(msg[1:9])), nil
}

// diskStep is the smallest change of free disk worth telling, in bytes.
const diskStep = 64 << 20

// material reports whether others should hear of the change: any text, or free
// disk by a twentieth and at least diskStep. A disk that fills steadily is thus
// told some dozens of times in all, not every few seconds.
func material(old, now Node) bool {
	moved := max(old.FreeDisk, now.FreeDisk) - min(old.FreeDisk, now.FreeDisk)
	if moved >= max(diskStep, old.FreeDisk/20) {
		return true
	}
	old.FreeDisk, old.Addr = now.FreeDisk, now.Addr
	return old != now
}
