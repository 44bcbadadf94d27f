package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// startBridge makes the bridge in a network namespace that has nothing else.
func startBridge(dir string) (*frame.Frame, error) {
	directory := filepath.Join(dir, "bridge")
	if err := os.Mkdir(directory, 0o755); err != nil {
		return nil, err
	}
	return frame.Start(directory, syscall.CLONE_NEWNET,
		"ip link add br0 type bridge && ip link set lo up && ip link set br0 up")
}

// address returns the address of the number-th host, from 1. All labs use the same: their
// bridges do not know of each other.
func address(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 99, byte(number / 250), byte(number%250 + 1)})
}

// address6 returns the IPv6 address of the number-th host, where it has one.
func address6(number int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x99, 14: byte(number >> 8), 15: byte(number)})
}

// cardAddress returns the hardware address of a host's network card. It is the same after
// each boot, as that of a real card is: others would send to the old one until their
// ARP tables forget it, half a minute later.
func cardAddress(number int) string {
	b := address(number).As4()
	return net.HardwareAddr{2, 0, b[0], b[1], b[2], b[3]}.String()
}

// addresses returns lines of ip that give the host's card its addresses.
func (h *Host) addresses() (lines []string) {
	for _, ip := range slices.Compact([]netip.Addr{h.ip, h.ip6}) {
		switch {
		case ip.Is4():
			lines = append(lines, fmt.Sprintf("addr add %s/16 dev eth0", ip))
		case ip.Is6(): // that nobody else has it need not be found out first, which takes a second
			lines = append(lines, fmt.Sprintf("addr add %s/64 dev eth0 nodad", ip))
		}
	}
	return lines
}

// Renumber gives the host's card another address instead of all that it has, as a provider or a
// lease that ran out does. A host that is off has it when it is switched on.
func (h *Host) Renumber(ip netip.Addr) {
	h.lab.t.Helper()
	h.ip, h.ip6 = ip, netip.Addr{}
	if ip.Is6() {
		h.ip6 = ip
	}
	if h.frame == nil {
		return
	}
	lines := append([]string{"addr flush dev eth0 scope global"}, h.addresses()...)
	if err := batch(h.frame.PID(), "ip", lines...); err != nil {
		h.lab.t.Fatalf("lab: host %s: give its card %s: %v", h.name, ip, err)
	}
}

// plugIn gives the host its network card and puts the cable into the bridge.
func (h *Host) plugIn() error {
	bridge := h.lab.bridge.PID()
	err := batch(bridge, "ip",
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", h.cable, h.frame.PID()),
		"link set "+h.cable+" master br0",
		"link set "+h.cable+" up")
	if err != nil {
		return fmt.Errorf("plug in cable: %w", err)
	}
	lines := append([]string{"link set lo up", "link set eth0 address " + cardAddress(h.number)}, h.addresses()...)
	err = batch(h.frame.PID(), "ip", append(lines, "link set eth0 up")...)
	if err != nil {
		return fmt.Errorf("set up network card: %w", err)
	}
	if h.spec.rate == "" {
		return nil
	}
	// A queue holds back only what leaves it, hence one at each end.
	limit := " root tbf rate " + h.spec.rate + " burst 256k latency 50ms"
	if err := batch(bridge, "tc", "qdisc add dev "+h.cable+limit); err != nil {
		return fmt.Errorf("limit card to %s: %w", h.spec.rate, err)
	}
	if err := batch(h.frame.PID(), "tc", "qdisc add dev eth0"+limit); err != nil {
		return fmt.Errorf("limit card to %s: %w", h.spec.rate, err)
	}
	return nil
}

// unplug takes both ends of the cable away. They would go with the host's
// namespace, but some time after its last process, when the cable of a host that
// is switched on again has the same name.
func (h *Host) unplug() error {
	return frame.Poll(10*time.Second, func() error {
		_ = batch(h.lab.bridge.PID(), "ip", "link del "+h.cable) // it may be gone already; the look below tells
		return frame.Inside(h.lab.bridge.PID(), frame.Network, func() error {
			if _, err := net.InterfaceByName(h.cable); err == nil {
				return fmt.Errorf("cable %s can't be unplugged", h.cable)
			}
			return nil
		})
	})
}

// Cut takes the host's cable out: packets get lost in both directions, and
// neither side is told.
func (h *Host) Cut() { h.lab.t.Helper(); h.setCable("down") }

// Heal puts the cable back and returns when the bridge forwards again.
func (h *Host) Heal() {
	h.lab.t.Helper()
	h.setCable("up")
	if err := h.awaitCable(); err != nil {
		h.lab.t.Fatalf("lab: host %s: %v", h.name, err)
	}
}

func (h *Host) setCable(state string) {
	h.lab.t.Helper()
	if err := batch(h.lab.bridge.PID(), "ip", "link set "+h.cable+" "+state); err != nil {
		h.lab.t.Fatalf("lab: host %s: set cable %s: %v", h.name, state, err)
	}
}

// awaitCable waits until the kernel has seen that both ends are up, which it
// looks for up to a second later. Until then the bridge drops packets, and a lost
// ARP request would cost another second.
func (h *Host) awaitCable() error {
	return frame.Poll(10*time.Second, func() error {
		return frame.Inside(h.lab.bridge.PID(), frame.Network, func() error {
			link, err := net.InterfaceByName(h.cable)
			if err != nil {
				return fmt.Errorf("look at cable: %w", err)
			}
			if link.Flags&net.FlagRunning == 0 {
				return errors.New("the cable is plugged in but the link stays down")
			}
			return nil
		})
	})
}

// batch runs lines with ip or tc in the network namespace of process pid.
func batch(pid int, tool string, lines ...string) error {
	cmd := exec.Command(tool, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := frame.Inside(pid, frame.Network, cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %s: %w", tool, bytes.TrimSpace(output.Bytes()), err)
	}
	return nil
}
