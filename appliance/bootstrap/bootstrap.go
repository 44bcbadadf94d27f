// Package bootstrap is how a bare machine gets crawlbox from the manager, with nothing
// but curl and no other network: by a line that a person pastes there.
//
// The line trusts nobody before the checksum of the cluster's CA, which it has in it,
// fits what the manager shows; only then does it send the join token. What the
// manager answers is a script, and the script runs no program before its checksum fits.
package bootstrap

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"text/template"
)

// Paths on the manager's port for nodes. The CA is shown to everybody, the rest to
// holders of a join token.
const (
	PathCA      = "/v1/ca"
	PathScript  = "/v1/bootstrap"
	PathProgram = "/v1/bootstrap/program"
)

// Command returns what is to be pasted on a machine that is to join. addr is where the
// manager listens, HOST:PORT; ca is what it answers at PathCA. The brackets of an IPv6 address
// would be a pattern for file names in some shells, hence the quotes.
func Command(addr string, ca []byte, join string) string {
	sum := sha256.Sum256(ca)
	return fmt.Sprintf(`(d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT && cd "$d" && `+
		`curl -fsSkm60 -o ca.pem 'https://%[1]s%[2]s' && echo '%[3]s  ca.pem' | sha256sum -c && `+
		`printf 'Authorization: Bearer %%s\n' %[4]s >auth && `+
		`curl -sSm60 --cacert ca.pem -H @auth -o install.sh 'https://%[1]s%[5]s' && sh install.sh)`,
		addr, PathCA, hex.EncodeToString(sum[:]), join, PathScript)
}

// Program describes what the script brings.
type Program struct {
	URL     string
	Role    string // manager or worker: what the machine becomes
	Version string
	SHA256  string // in hex
	Arch    string // as Go names it
}

//go:embed install.sh
var source string

var script = template.Must(template.New("install.sh").Funcs(template.FuncMap{"quote": quote}).Parse(source))

// machines lists what uname calls processors, by Go's names.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func Script(p Program) string {
	var text strings.Builder
	err := script.Execute(&text, struct {
		Program
		Machine string
	}{p, machines[p.Arch]})
	if err != nil {
		panic("render install.sh: " + err.Error()) // of what is embedded: no input can do that
	}
	return text.String()
}

// Refusal returns a script that says why there is no other, and fails.
func Refusal(why error) string {
	return "echo " + quote("crawlbox: "+why.Error()) + " >&2\nexit 1\n"
}

// quote makes text one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
