package run

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/doctor"
)

func TestViews(t *testing.T) {
	t.Parallel()
	well := doctor.NewReport("h1", "manager", someReport.Findings[:1])
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"doctor":      func(s tui.Screen) { renderReport(s, someReport) },
		"doctor-well": func(s tui.Screen) { renderReport(s, well) },
	}, func(view, line string, width int) bool {
		longWord := strings.Contains(line, "/etc/resolv.conf") || strings.Contains(line, "/etc/nftables.conf")
		command := strings.HasPrefix(line, "      nft ") // stays in one piece, to be copied
		return view == "doctor" && (command || width < 24 && longWord)
	})
}

// someReport has a finding of each kind.
var someReport = doctor.NewReport("h2", "worker", []doctor.Finding{
	{Check: "docker", Level: doctor.OK, Text: "Docker Engine 20.10.24+dfsg1, API 1.41"},
	{
		Check:  "kernel",
		Level:  doctor.Note,
		Text:   "the kernel 6.1 has no vxlan: overlay networks do not work",
		Remedy: "where that is needed, install the distribution's full kernel",
	},
	{
		Check: "dns",
		Level: doctor.Warn,
		Text: "/etc/resolv.conf names no server: images of other registries and base images of builds can't be " +
			"pulled by this machine",
		Remedy: "give it a name server if it shall have the Internet; nodes do without",
	},
	{
		Check: "firewall",
		Level: doctor.Bad,
		Text: "other nodes are kept out of 7946/tcp+udp, 7980/tcp by nftables (chain input of table inet filter, " +
			"by its policy)",
		Remedy: "open them; the rule is gone after a reboot unless it also stands in /etc/nftables.conf",
		Commands: []string{
			"nft insert rule inet filter input ip saddr 10.99.0.0/16 tcp dport '{ 7946, 7980 }' accept",
			"nft insert rule inet filter input ip saddr 10.99.0.0/16 udp dport '{ 7946 }' accept",
		},
	},
})
