package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/appliance/members"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// pathOwner is where a manager asks a node whose a connection is that came from
// the node's address: of its Docker Engine, which may read images, or of any
// other program there, such as a spider, which may not. Docker itself can't
// prove it: it pulls for a service without credentials, and the containerd
// image store has trouble with client certificates.
const pathOwner = "/v1/owner"

// ownerQuestion names a connection by its ends as the node sees them: its own,
// and the manager's, which may have several addresses.
type ownerQuestion struct {
	Local  netip.AddrPort   `json:"local"`
	Remote []netip.AddrPort `json:"remote"` // at most maxRemotes
}

const maxRemotes = 4

// ownersAsked is how many questions to one node are under way at a time: a spider there
// can cause them.
const ownersAsked = 8

// errOtherProgram is for programs on nodes that ask the registry on the network
// by themselves.
var errOtherProgram = errors.New("what asks is not the Docker Engine of its node")

type ownerAnswer struct {
	Docker bool `json:"docker"`
}

// answerOwner answers a manager.
func (w *Worker) answerOwner(rw http.ResponseWriter, r *http.Request) {
	var q ownerQuestion
	if err := bound.JSON(r.Body, 4<<10, &q); err != nil || len(q.Remote) > maxRemotes {
		http.Error(rw, "not a question about a connection", http.StatusBadRequest)
		return
	}
	var answer ownerAnswer
	for _, remote := range q.Remote {
		own, err := w.owns(r.Context(), q.Local, remote)
		if err != nil {
			w.log.Debug("find out who asks the manager's registry", "local", q.Local, "remote", remote, "error", err)
			continue
		}
		if answer.Docker = own; own {
			break
		}
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(answer)
}

// registryPeer says what a program may do with the registry on the network by
// its being where it is, without credentials.
func (m *Manager) registryPeer(r *http.Request) (access.Right, error) {
	if _, err := m.identity.Peer(r); err == nil {
		return access.Read, nil
	}
	server, client, err := ends(r)
	if err != nil {
		return access.None, err
	}
	if doctor.IsLocal(client.Addr().Unmap()) {
		if err := m.ownDocker(r.Context(), client, server, errOtherProgram); err != nil {
			return access.None, err
		}
		return access.Write, nil
	}
	nodes := m.members.At(client.Addr())
	if len(nodes) == 0 {
		return access.None, fmt.Errorf("no node of the cluster is at %s", client.Addr().Unmap())
	}
	docker, err := proofOf(r.Context()).of(func() (bool, error) { return m.askOwner(r.Context(), nodes, client, server) })
	switch {
	case err != nil:
		return access.None, fmt.Errorf("ask the node at %s who wants images: %w", client.Addr().Unmap(), err)
	case !docker:
		return access.None, errOtherProgram
	}
	return access.Read, nil
}

// askOwner asks the node at the client's address, which must be one of nodes.
func (m *Manager) askOwner(ctx context.Context, nodes []members.Member, client, server netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	leave, err := m.owners.Enter(ctx, client.Addr())
	if err != nil {
		return false, err
	}
	defer leave()
	remotes := []netip.AddrPort{server, netip.AddrPortFrom(m.addr, server.Port())}
	body, err := m.askNode(ctx, client.Addr(), nodes, pathOwner, ownerQuestion{Local: client, Remote: remotes})
	if err != nil {
		return false, err
	}
	defer body.Close()
	var answer ownerAnswer
	if err := bound.JSON(body, 4<<10, &answer); err != nil {
		return false, fmt.Errorf("read its answer: %w", err)
	}
	return answer.Docker, nil
}

// askNode asks the node at an address, which must be one of nodes, and returns the
// body of its answer.
func (m *Manager) askNode(ctx context.Context, at netip.Addr, nodes []members.Member, path string, question any) (io.ReadCloser, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	url := "https://" + netip.AddrPortFrom(at.Unmap(), m.cfg.Node.Port).String() + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := m.nodes.Do(req)
	switch {
	case err != nil:
		return nil, err
	case !isOneOf(nodes, resp):
		err = errors.New("another node answers there")
	case resp.StatusCode != http.StatusOK:
		err = statusError(resp.StatusCode)
	default:
		return resp.Body, nil
	}
	resp.Body.Close()
	return nil, err
}

// statusError is the HTTP status of a node that does not do what it was asked.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("it answers %d %s", int(e), http.StatusText(int(e)))
}

// isOneOf says whether a response comes from one of the nodes.
func isOneOf(nodes []members.Member, resp *http.Response) bool {
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		return false
	}
	info, err := join.InfoFrom(resp.TLS.PeerCertificates[0])
	for _, n := range nodes {
		if err == nil && n.ID == info.ID {
			return true
		}
	}
	return false
}
