package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// prize is an image in the registry, as a thief would know it who knows all but
// a way in.
type prize struct {
	name, tag    string
	digest, blob string // of the manifest, and of the image's config
	manifest     string
	mediaType    string
}

// prize looks an image up with the eyes of the first worker.
func (c *cluster) prize(name, tag string) prize {
	c.Helper()
	p := prize{name: name, tag: tag, digest: c.image(name, tag).Digest}
	tr := &http.Transport{DialContext: c.manager.DialContext, TLSClientConfig: c.copyIdentity(c.hosts[1]).ClientTLS()}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: quick}
	resp, err := client.Get("https://" + addrOf(c.manager, 7980) + "/v2/" + name + "/manifests/" + p.digest)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	var m struct {
		MediaType string
		Config    struct{ Digest string }
	}
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(data, &m) != nil {
		c.Fatalf("get the manifest of %s:%s: %s %s", name, tag, resp.Status, data)
	}
	p.blob, p.manifest, p.mediaType = m.Config.Digest, string(data), m.MediaType
	return p
}

// copyIdentity is what whoever is root on a node can take with him.
func (c *cluster) copyIdentity(from *lab.Host) *pki.Identity {
	c.Helper()
	dir := c.TempDir()
	for _, name := range []string{"key.pem", "identity.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(from.ReadFile("/var/lib/crawlbox/node/"+name)),
			0o600); err != nil {
			c.Fatal(err)
		}
	}
	id, err := pki.LoadIdentity(dir)
	if err != nil {
		c.Fatal(err)
	}
	return id
}

// loot is what must not be in anything that a thief gets, by what it is.
type loot map[string]string

// secrets are those of the cluster itself.
func (c *cluster) secrets() loot {
	c.Helper()
	l := loot{"password of the queue": password}
	for _, role := range []string{"worker", "manager"} {
		l["join token of a "+role] = strings.TrimPrefix(c.token(role), "CBX1-")
		l["Swarm's token of a "+role] = c.manager.Docker("swarm", "join-token", "--quiet", role)
	}
	for _, h := range c.hosts {
		l["key of "+h.Name()] = strings.Split(h.ReadFile("/var/lib/crawlbox/node/key.pem"), "\n")[1]
	}
	l["key of the CA"] = strings.Split(c.manager.ReadFile("/var/lib/crawlbox/ca/ca.pem"), "\n")[1]
	key := c.sharedKey()
	text, _ := json.Marshal(key)
	l["key of gossip"], l["key of gossip as text"] = string(key), strings.Trim(string(text), `"`)
	return l
}

// sharedKey is the key of gossip that encrypts now.
func (c *cluster) sharedKey() []byte {
	c.Helper()
	var stored struct{ Keys [][]byte }
	if err := json.Unmarshal([]byte(c.manager.ReadFile("/var/lib/crawlbox/gossip.json")), &stored); err != nil ||
		len(stored.Keys) == 0 {
		c.Fatalf("the manager has no key of gossip: %v", err)
	}
	return stored.Keys[0]
}

// in fails the test where an answer has some of it.
func (l loot) in(t *testing.T, from string, answer []byte, except ...string) {
	t.Helper()
	for what, secret := range l {
		if len(secret) < 8 {
			t.Errorf("%s is %q: too short to be looked for", what, secret)
		}
		if bytes.Contains(answer, []byte(secret)) && !slices.Contains(except, what) {
			t.Errorf("%s: the %s is in the answer:\n%.4000q", from, what, answer)
		}
	}
}

// registryState is all that the registry holds. How many nodes have an image is no
// business of the registry.
func (c *cluster) registryState() string {
	c.Helper()
	var images []fleet.Image
	c.read(&images, "images")
	for i := range images {
		images[i].Nodes = nil
	}
	return fmt.Sprintf("%+v", images) + c.manager.MustExec("sh", "-c",
		"find /var/lib/crawlbox/registry -printf '%p %s\n' | sort")
}

func addrOf(host *lab.Host, port int) string {
	return host.At(uint16(port))
}
