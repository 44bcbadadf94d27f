package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// followRetry is the pause after no manager answered.
	followRetry = 2 * time.Second
	// trialRetry is the pause between tries to get a certificate that is no trial.
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
func (id *Identity) Follow(ctx context.Context, swarmID func() string, changed func(Membership, error), log *slog.Logger) error {
	client := id.followClient()
	defer client.CloseIdleConnections()
	have := ""
	var pushed time.Time
	for ctx.Err() == nil {
		own := swarmID()
		news, err := id.askNews(ctx, client, followRequest{Version: wireVersion, Have: have, Swarm: own})
		if err == nil && own != "" && id.onTrial() && time.Since(pushed) > trialRetry {
			pushed = time.Now()
			id.renewSoon() // a machine that is switched off now may come back in days
		}
		pause := followRetry
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && news == "":
			continue
		case err == nil:
			have = news
			changed(id.Membership(), nil)
			continue
		case errors.Is(err, ErrRemoved), errors.Is(err, ErrBound):
			changed(id.Membership(), err)
			pause = removedRetry
		}
		log.Debug("ask for news of the cluster", "error", err)
		if !sleep(ctx, pause) {
			return nil
		}
	}
	return nil
}

// Check asks once whether the node is still one of the cluster, and keeps what
// is new. The error is ErrRemoved where it is not.
func (id *Identity) Check(ctx context.Context) error { return id.check(ctx, "") }

// check says what the node is in the swarm, too.
func (id *Identity) check(ctx context.Context, swarmID string) error {
	client := id.followClient()
	defer client.CloseIdleConnections()
	_, err := id.askNews(ctx, client, followRequest{Version: wireVersion, Swarm: swarmID})
	return err
}

func (id *Identity) followClient() *http.Client {
	return &http.Client{
		Timeout:       followHold + requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     id.ClientTLS(fleet.RoleManager),
			TLSHandshakeTimeout: dialTimeout,
			IdleConnTimeout:     time.Minute,
		},
	}
}

// askNews asks the managers in turn, and keeps the first answer. The version is
// empty where there is no news.
func (id *Identity) askNews(ctx context.Context, client *http.Client, req followRequest) (version string, err error) {
	failed := &ManagersError{}
	for _, addr := range id.Membership().Managers {
		var answer followAnswer
		_, err := post(ctx, client, "https://"+addr.String()+pathFollow, req, &answer)
		if errors.Is(err, ErrRemoved) || errors.Is(err, ErrBound) {
			return "", err
		}
		if err != nil {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: err})
			continue
		}
		if answer.News == "" {
			id.hearNow()
			return "", nil
		}
		if !answer.GossipKeys.good() {
			return "", fmt.Errorf("ask manager %s for news: %w", addr, errStranger)
		}
		id.hearNow()
		return answer.News, id.learn(addr, answer.Membership)
	}
	return "", failed
}

// learn keeps what the manager at addr says.
func (id *Identity) learn(addr netip.AddrPort, m Membership) error {
	m.Managers = first(addr, m.Managers)
	return id.adopt(m)
}
