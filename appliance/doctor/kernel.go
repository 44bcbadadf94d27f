package doctor

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// features lists what Docker needs of the kernel for what crawlbox lets it do. What crawlers do
// without is a note.
var features = []struct {
	option, module string
	level          Level
	without        string
}{
	{"OVERLAY_FS", "overlay", Warn, "images take much more of the disk, and containers start slowly"},
	{"VETH", "veth", Note, "containers have no network of their own; the host's, which crawlers use by default, works"},
	{
		"BRIDGE", "bridge", Note,
		"containers have no network of their own; the host's, which crawlers use by default, works",
	},
	{"VXLAN", "vxlan", Note, "overlay networks do not work; the host's network, which crawlers use by default, does"},
	{
		"IP_VS", "ip_vs", Note, "ports published by ingress and virtual IPs of services do not work; the host's " +
			"network, which crawlers use by default, does",
	},
}

// Kernel looks for features, in the kernel and among its modules. Where neither the
// kernel's config nor its modules can be seen, nothing is said to be missing.
func (s System) Kernel() (list []Finding) {
	release := s.readTrimmed("proc/sys/kernel/osrelease")
	config, modules := s.kernelConfig(release), s.modules(release)
	var have []string
	for _, f := range features {
		builtIn := strings.Contains(config, "\nCONFIG_"+f.option+"=y")
		_, err := fs.Stat(s.Files, "sys/module/"+f.module)
		switch {
		case builtIn, err == nil, strings.Contains(modules, "/"+f.module+".ko"):
			have = append(have, f.module)
		case config == "" && strings.TrimSpace(modules) == "":
		default:
			list = append(list, wrong("kernel", f.level,
				fmt.Sprintf("the kernel %s has no %s: %s", release, f.module, f.without),
				"where that is needed, install the distribution's full kernel, on Ubuntu `apt-get install "+
					"linux-modules-extra-$(uname -r)`"))
		}
	}
	return orGood(list, "kernel", fmt.Sprintf("Linux %s with %s", release, strings.Join(have, ", ")))
}

// kernelConfig returns how the kernel was built, empty where it does not tell.
func (s System) kernelConfig(release string) string {
	if text, err := fs.ReadFile(s.Files, "boot/config-"+release); err == nil {
		return "\n" + string(text)
	}
	packed, err := fs.ReadFile(s.Files, "proc/config.gz")
	if err != nil {
		return ""
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err != nil {
		return ""
	}
	return "\n" + string(text)
}

// modules returns the paths of what can be loaded or is built in.
func (s System) modules(release string) string {
	return s.readTrimmed("lib/modules/"+release+"/modules.dep") + "\n" + s.readTrimmed(
		"lib/modules/"+release+"/modules.builtin")
}
