package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// followRetry is the pause after no manager answered.
	followRetry = 2 * time.Second
	// trialRetry is the pause between tries to get a certificate that is no trial, or for the
	// address that the node has taken.
	trialRetry = time.Minute
	// removedRetry is the pause after a manager said that this node was removed.
	removedRetry = time.Minute
)

// Follow keeps what the node knows of its cluster up to date, until ctx ends: it
// asks a manager, which answers as soon as there is something new, and keeps the
// answer. changed is called after each answer with news, with ErrRemoved when the node
// hears that it was removed, and with ErrBound when another certificate has its place;
// swarmID returns the node's ID in the
// swarm, empty where it is not known. It returns nil.
func Follow(ctx context.Context, id *pki.Identity, swarmID func() string, changed func(pki.Membership, error),
	log *slog.Logger) error {
	client := followClient(id)
	defer client.CloseIdleConnections()
	have := ""
	var order []netip.AddrPort
	var pushed time.Time
	for ctx.Err() == nil {
		own := swarmID()
		news, err := askNews(ctx, id, client, followRequest{Version: wireVersion, Have: have, Swarm: own},
			&order)
		if err == nil && own != "" && (id.OnTrial() || id.Moved()) && time.Since(pushed) > trialRetry {
			pushed = time.Now()
			id.RenewSoon() // a machine that is switched off now may come back in days
		}
		wait := followRetry
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && news == "":
			continue
		case err == nil:
			have = news
			changed(id.Membership(), nil)
			continue
		case errors.Is(err, pki.ErrRemoved), errors.Is(err, ErrBound):
			changed(id.Membership(), err)
			wait = removedRetry
		}
		log.Debug("ask for news of the cluster", "error", err)
		if clock.Sleep(ctx, wait) != nil {
			return nil
		}
	}
	return nil
}

// Check asks once whether the node is still one of the cluster, and keeps what
// is new. The error is ErrRemoved where it is not.
func Check(ctx context.Context, id *pki.Identity) error { return CheckAs(ctx, id, "") }

// CheckAs says what the node is in the swarm, too. The error is ErrBound where another certificate
// is bound to that.
func CheckAs(ctx context.Context, id *pki.Identity, swarmID string) error {
	client := followClient(id)
	defer client.CloseIdleConnections()
	_, err := askNews(ctx, id, client, followRequest{Version: wireVersion, Swarm: swarmID}, new([]netip.AddrPort))
	return err
}

func followClient(id *pki.Identity) *http.Client {
	return &http.Client{
		Timeout:       followHold + requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAliveConfig: managerLost}).DialContext,
			TLSClientConfig:     id.ClientTLS(fleet.RoleManager),
			TLSHandshakeTimeout: dialTimeout,
			IdleConnTimeout:     time.Minute,
		},
	}
}

// managerLost has a manager that has lost its power be known as gone within seconds, while it holds a question.
var managerLost = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: 2 * time.Second, Count: 2}

// askNews asks the managers in turn, those that did not answer last after the others, and keeps the first answer; order
// is how they were asked before. The version is empty where there is no news.
func askNews(ctx context.Context, id *pki.Identity, client *http.Client,
	req followRequest, order *[]netip.AddrPort) (version string, err error) {
	failed := &ManagersError{}
	managers := arrange(*order, id.Membership().Managers)
	*order = managers
	for i, addr := range managers {
		var answer followAnswer
		_, err := post(ctx, client, "https://"+addr.String()+pathFollow, req, &answer)
		if errors.Is(err, pki.ErrRemoved) || errors.Is(err, ErrBound) {
			return "", err
		}
		if err != nil {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: err})
			*order = slices.Concat(managers[i+1:], managers[:i+1])
			continue
		}
		if answer.News == "" {
			id.ManagerAnswered()
			return "", nil
		}
		if answer.Restored < id.Membership().Restored {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: errBefore})
			continue
		}
		if answer.Restored > id.Membership().Restored && !answer.Bound {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: errAhead})
			continue
		}
		if !answer.GossipKeys.Good() {
			return "", fmt.Errorf("ask manager %s for news: %w", addr, errNotManager)
		}
		id.ManagerAnswered()
		if answer.Role == fleet.RoleManager && id.Role() != fleet.RoleManager {
			id.RenewSoon() // it was promoted
		}
		return answer.News, learn(id, addr, answer.Membership)
	}
	return "", failed
}

// arrange returns managers in an order in which some of them were, before those that were not.
func arrange(order, managers []netip.AddrPort) []netip.AddrPort {
	list := slices.DeleteFunc(slices.Clone(order), func(a netip.AddrPort) bool { return !slices.Contains(managers, a) })
	for _, a := range managers {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// learn keeps what the manager at addr says.
func learn(id *pki.Identity, addr netip.AddrPort, m pki.Membership) error {
	m.Managers = first(addr, m.Managers)
	return id.Adopt(m)
}

// Renew gets a new certificate for the node's key from one of the managers it
// knows, with what else is new of the cluster, and saves it. Connections that
// stand are not touched. A certificate that has expired cannot be renewed; Join
// with a join token replaces it.
func Renew(ctx context.Context, id *pki.Identity) error { return refresh(ctx, id, false) }

// RenewSwarmToken does what Renew does, and gets a Swarm join token too: for a node whose
// Docker must join the swarm again.
func RenewSwarmToken(ctx context.Context, id *pki.Identity) error { return refresh(ctx, id, true) }

func refresh(ctx context.Context, id *pki.Identity, swarmToken bool) error {
	csr, err := id.CSR()
	if err != nil {
		return err
	}
	req := renewRequest{Version: wireVersion, CSR: csr, Addr: id.Self.Addr, SwarmToken: swarmToken}
	failed := &ManagersError{}
	for _, addr := range id.Membership().Managers {
		answer, err := askRenewal(ctx, id, addr, req)
		if err != nil {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: err})
			continue
		}
		if answer.Restored < id.Membership().Restored {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: errBefore})
			continue
		}
		if !swarmToken { // what it follows is for a notice to say, or for news
			answer.Restored = id.Membership().Restored
		}
		if err := id.Use(answer.Certificate); err != nil {
			return fmt.Errorf("use certificate of manager %s: %w", addr, err)
		}
		id.ManagerAnswered()
		return learn(id, addr, answer.Membership)
	}
	return fmt.Errorf("renew certificate: %w", failed)
}

// errAhead is the error of a manager in whose swarm this node is not, since the cluster was restored: the node
// follows once it has the notice of that.
var errAhead = errors.New("it is a manager of the cluster as it was restored, and this node has not followed it")

// errBefore is the error of a manager that does not know that the cluster was restored.
var errBefore = errors.New("it is the manager that the cluster had before it was restored")

func askRenewal(ctx context.Context, id *pki.Identity, addr netip.AddrPort,
	req renewRequest) (answer joinAnswer, err error) {
	conn, err := dial(ctx, addr, id.ClientTLS(fleet.RoleManager))
	if err != nil {
		return joinAnswer{}, err
	}
	defer conn.Close()
	client := connHTTP(conn)
	defer client.CloseIdleConnections()
	_, err = post(ctx, client, "https://"+addr.String()+pathRenew, req, &answer)
	return answer, err
}

// Removed begins the problem, in the status, of a node that is no longer one of the cluster.
const Removed = "this node was removed from its cluster"

const removedText = Removed + "; run `crawlbox leave` on it, or join again with "

// News takes up what a manager says is new of the cluster.
type News struct {
	Learn func(pki.Membership)
	Out   func() error // removes what is of the cluster's, once this node was removed from it
	Log   *slog.Logger

	refused atomic.Value // string: why a manager refuses this node, if it does
	leaving atomic.Bool
}

// Leaving runs what has this node leave the cluster: that it is out is what it wanted then.
func (n *News) Leaving(leave func() error) error {
	n.leaving.Store(true)
	err := leave()
	n.leaving.Store(err == nil)
	return err
}

// Hear is told what Follow hears.
func (n *News) Hear(news pki.Membership, err error) {
	if err == nil {
		n.refused.Store("")
		n.Learn(news)
		return
	}
	if n.leaving.Load() && errors.Is(err, pki.ErrRemoved) {
		n.Log.Info("this node has left its cluster")
		return
	}
	text := removedText + naming.JoinAgain
	if !errors.Is(err, pki.ErrRemoved) {
		text = err.Error()
	}
	if n.refused.Swap(text) == text {
		return
	}
	n.Log.Warn(text)
	if errors.Is(err, pki.ErrRemoved) && n.Out != nil {
		if err := n.Out(); err != nil {
			n.Log.Warn("failed to remove what is of the cluster", "error", err)
		}
	}
}

// Refused returns why a manager refuses this node, or nothing.
func (n *News) Refused() string {
	text, _ := n.refused.Load().(string)
	return text
}
