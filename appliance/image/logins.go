package image

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/docker/docker/api/types/registry"
	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"
)

// Login is what a registry wants to hear of a user, as the docker command keeps it.
type Login struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"` // in place of both
	RegistryToken string `json:"registry_token,omitempty"` // in place of all; the classic builder alone knows it
}

// Logins holds the logins of one user for one build, by registry: a host, maybe with a port, and
// DockerHub. They go to the engine with the build and are kept nowhere. They print as their number.
type Logins map[string]Login

// DockerHub is how the docker command names the registry that images without a host are from.
const DockerHub = "https://index.docker.io/v1/"

// String hides the logins.
func (l Logins) String() string { return fmt.Sprintf("%d hidden", len(l)) }

// GoString hides the logins.
func (l Logins) GoString() string { return l.String() }

// LogValue hides the logins.
func (l Logins) LogValue() slog.Value { return slog.StringValue(l.String()) }

// classic returns the logins as the classic builder is given them, all of them: it does not ask.
func (l Logins) classic() map[string]registry.AuthConfig {
	all := map[string]registry.AuthConfig{}
	for host, login := range l {
		all[host] = registry.AuthConfig{
			Username:      login.Username,
			Password:      login.Password,
			IdentityToken: login.IdentityToken,
			RegistryToken: login.RegistryToken,
			ServerAddress: host,
		}
	}
	return all
}

// loginServer answers BuildKit in the session of a build, when a registry asks for a login. It
// does not fetch tokens itself, as the docker command does: BuildKit then does, which knows the
// registry's CA.
type loginServer struct {
	auth.UnimplementedAuthServer
	logins Logins
}

// Register implements session.Attachable.
func (s loginServer) Register(to *grpc.Server) { auth.RegisterAuthServer(to, s) }

// Credentials implements auth.AuthServer. Without a login the answer is empty: BuildKit then
// asks as anybody may.
func (s loginServer) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	host := req.Host
	if host == "registry-1.docker.io" {
		host = DockerHub
	}
	login := s.logins[host]
	if login.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: login.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: login.Username, Secret: login.Password}, nil
}
