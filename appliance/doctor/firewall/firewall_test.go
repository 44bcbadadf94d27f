package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded answers with what real programs have printed, from files or as it stands.
func recorded(t *testing.T, programs map[string]string) Runner {
	t.Helper()
	return func(_ context.Context, argv ...string) (string, error) {
		said, ok := programs[strings.Join(argv, " ")]
		if !ok {
			return "", fmt.Errorf("%s: %w", argv[0], exec.ErrNotFound)
		}
		if file, ok := strings.CutPrefix(said, "file "); ok {
			text, err := os.ReadFile(filepath.Join("testdata", file))
			return string(text), err
		}
		return said, nil
	}
}

const (
	nftCommand      = "nft -j list ruleset"
	iptablesCommand = "iptables-save -t filter"
)

var nodePorts = []Port{
	{"tcp", 7980},
	{"tcp", 7981},
	{"udp", 7981},
	{"tcp", 2377},
	{"tcp", 7946},
	{"udp", 7946},
	{"udp", 4789},
}

func TestLook(t *testing.T) {
	t.Parallel()
	peer, lan := netip.MustParseAddr("10.99.0.7"), []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}
	for name, tt := range map[string]struct {
		programs map[string]string
		ports    []Port
		from     netip.Addr
		sources  []netip.Prefix
		by       string
		want     []string // each: ports | by | commands
	}{
		"no rules": {
			programs: map[string]string{
				iptablesCommand: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
				nftCommand:      `{"nftables": []}`,
			},
			ports: nodePorts,
		},
		"ufw": {
			programs: map[string]string{iptablesCommand: "file ufw.iptables", "ufw status": "Status: active\n"},
			ports:    nodePorts,
			from:     peer,
			sources:  lan,
			by:       "ufw",
			want: []string{"2377/tcp, 4789/udp, 7946/tcp+udp, 7981/udp | iptables (chain INPUT, by its policy) | " +
				"ufw allow proto tcp from 10.99.0.0/16 to any port 2377,7946 && ufw allow proto udp from " +
				"10.99.0.0/16 to any port 4789,7946,7981"},
		},
		"ufw, from elsewhere": {
			programs: map[string]string{iptablesCommand: "file ufw.iptables", "ufw status": "Status: active\n"},
			ports:    []Port{{"tcp", 7980}},
			from:     netip.MustParseAddr("192.0.2.1"),
			by:       "ufw",
			want: []string{
				"7980/tcp | iptables (chain INPUT, by its policy) | ufw allow proto tcp from any to any port 7980",
			},
		},
		"firewalld": {
			programs: map[string]string{
				nftCommand:             "file firewalld.nft",
				iptablesCommand:        "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
				"firewall-cmd --state": "running\n",
				"firewall-cmd --get-zone-of-interface=eth0": "public\n",
			},
			ports: []Port{{"tcp", 7980}, {"tcp", 7981}, {"udp", 7981}},
			from:  peer,
			by:    "firewalld",
			want: []string{"7980/tcp, 7981/udp | nftables (chain filter_IN_public of table inet firewalld, " +
				"rule 72) | " +
				"firewall-cmd --permanent --zone=public --add-port=7980/tcp && firewall-cmd --permanent " +
				"--zone=public --add-port=7981/udp && firewall-cmd --reload"},
		},
		"firewalld, from a network": {
			programs: map[string]string{
				nftCommand:                        "file firewalld.nft",
				"firewall-cmd --state":            "running\n",
				"firewall-cmd --get-default-zone": "public\n",
			},
			ports:   []Port{{"tcp", 7980}},
			from:    peer,
			sources: lan,
			by:      "firewalld",
			want: []string{"7980/tcp | nftables (chain filter_IN_public of table inet firewalld, rule 72) | " +
				"firewall-cmd --permanent --zone=public --add-rich-rule='rule family=ipv4 source " +
				"address=10.99.0.0/16 port port=7980 protocol=tcp accept' && firewall-cmd --reload"},
		},
		"rules of nft and of iptables": {
			programs: map[string]string{nftCommand: "file both.nft", iptablesCommand: "file both.iptables"},
			ports:    nodePorts,
			from:     peer,
			sources:  lan,
			by:       "iptables and nftables",
			want: []string{
				"2377/tcp, 7946/tcp | iptables (chain INPUT: -A INPUT -p tcp -m multiport --dports 2377,7946 -j " +
					"DROP) | iptables -I INPUT -p tcp -s 10.99.0.0/16 -m multiport --dports 2377,7946 -j ACCEPT",
				"7946/tcp, 7981/udp | nftables (chain input of table inet filter, by its policy) | nft insert rule " +
					"inet filter input ip saddr 10.99.0.0/16 tcp dport '{ 7946 }' accept && nft insert rule inet " +
					"filter input ip saddr 10.99.0.0/16 udp dport '{ 7981 }' accept",
				"2377/tcp | nftables (chain input of table inet filter, rule 5) | nft insert rule inet filter input " +
					"ip saddr 10.99.0.0/16 tcp dport '{ 2377 }' accept",
				"7980/tcp | nftables (chain input of table inet filter, rule 7) | nft insert rule inet filter input " +
					"ip saddr 10.99.0.0/16 tcp dport '{ 7980 }' accept",
			},
		},
		"from one network only": {
			programs: map[string]string{iptablesCommand: "file both.iptables"},
			ports:    []Port{{"tcp", 8003}},
			from:     netip.MustParseAddr("192.0.2.1"),
			by:       "iptables",
			want: []string{
				`8003/tcp | iptables (chain INPUT: -A INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 8003:8010 -m comment --comment "not for strangers" -j REJECT --reject-with icmp-port-unreachable) | iptables -I INPUT -p tcp -m multiport --dports 8003 -j ACCEPT`,
			},
		},
		"not from there": {
			programs: map[string]string{iptablesCommand: "file both.iptables"},
			ports:    []Port{{"tcp", 8003}}, from: peer, by: "iptables",
		},
		"IPv6": {
			programs: map[string]string{
				nftCommand: "file both.nft",
				"ip6tables-save " +
					"-t filter": "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 2001:db8::/32 -p tcp -m tcp --dport 7980 " +
					"-j ACCEPT\nCOMMIT\n",
			},
			ports:   []Port{{"tcp", 7980}, {"tcp", 2377}},
			from:    netip.MustParseAddr("2001:db8::7"),
			sources: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")},
			by:      "ip6tables and nftables",
			want: []string{
				"2377/tcp | ip6tables (chain INPUT, by its policy) | ip6tables -I INPUT -p tcp -s 2001:db8::/64 -m " +
					"multiport --dports 2377 -j ACCEPT",
				// The rule for 2377 is one of IPv4.
				"2377/tcp | nftables (chain input of table inet filter, by its policy) | nft insert rule inet filter " +
					"input ip6 saddr 2001:db8::/64 tcp dport '{ 2377 }' accept",
				"7980/tcp | nftables (chain input of table inet filter, rule 7) | nft insert rule inet filter input " +
					"ip6 saddr 2001:db8::/64 tcp dport '{ 7980 }' accept",
			},
		},
		"nft alone": {
			programs: map[string]string{nftCommand: "file both.nft"},
			// by a set, which is not looked into
			ports: []Port{{"udp", 7946}, {"udp", 4789}}, from: peer, by: "nftables",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := Question{Ports: tt.ports, IPv6: tt.from.Is6(), Interface: "eth0", From: tt.from, Sources: tt.sources}
			by, blocked, err := Look(t.Context(), recorded(t, tt.programs), q)
			if err != nil || by != tt.by {
				t.Errorf("looked at %q, %v; want %q", by, err, tt.by)
			}
			var got []string
			for _, b := range blocked {
				got = append(got, List(b.Ports)+" | "+b.By+" | "+strings.Join(b.Commands, " && "))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestLook_NothingToAsk(t *testing.T) {
	t.Parallel()
	if _, _, err := Look(t.Context(), recorded(t, nil), Question{}); err == nil {
		t.Error("no program, and no error")
	}
	if _, _, err := Look(t.Context(), recorded(t, map[string]string{nftCommand: "nonsense"}), Question{}); err == nil {
		t.Error("nonsense was read")
	}
}

func FuzzRules(f *testing.F) {
	for _, file := range []string{"both.nft", "both.iptables", "ufw.iptables"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(_ *testing.T, text string) {
		sets := []*ruleset{parseIptables(text, "iptables")}
		if s, err := parseNft(text, false, false); err == nil {
			sets = append(sets, s)
		}
		for _, s := range sets {
			for _, base := range s.bases {
				s.evaluate(base, packet{Port{"tcp", 7980}, "eth0", netip.MustParseAddr("10.0.0.1"), false})
			}
		}
	})
}
