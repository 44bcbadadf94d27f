package copies

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// Fetch returns the newest sealed backup that a node keeps, for a machine that is none. What it is shows
// once it is opened.
func Fetch(ctx context.Context, node netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	_, path, _ := strings.Cut(agent.RouteSealed, " ")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+node.String()+path, nil)
	if err != nil {
		return nil, err
	}
	// Nothing is sent, and nothing believed that the recovery key does not open.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get the backup from %s: %w", node, wire.WithoutURL(err))
	}
	defer resp.Body.Close()
	sealed, err := bound.ReadAll(resp.Body, backup.MaxSealed)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", strings.TrimSpace(string(sealed[:min(len(sealed), 200)])))
	}
	if err != nil {
		return nil, fmt.Errorf("get the backup from %s: %w", node, err)
	}
	return sealed, nil
}
