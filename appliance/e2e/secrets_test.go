package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

const dataDir = "/var/lib/crawlbox"

// secrecy is a cluster whose secrets are gathered, and all that it says where
// nobody asked it for one.
type secrecy struct {
	*cluster
	worker, removed *lab.Host
	secrets         *secrets
	said            *strings.Builder
}

// TestSecrets uses all that has to do with secrets, with every log at debug, and
// then looks for them where they must not be.
func TestSecrets(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(3), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	s := &secrecy{
		cluster: c,
		worker:  c.hosts[1],
		removed: c.hosts[2],
		secrets: newSecrets(),
		said:    new(strings.Builder),
	}
	arguments := watchArguments(t)

	s.queuePasswords()
	s.joinAll()
	s.useAll()
	s.nowhere("the arguments of processes", arguments())
	s.mistakes()
	s.swarmSecrets()
	s.secretFiles()
	s.nowhereAtAll()
	t.Run("files", func(t *testing.T) { s.in(t).files() })
	t.Run("local API", func(t *testing.T) { s.in(t).localAPI() })
}

func (s *secrecy) in(t *testing.T) *secrecy {
	o := *s
	o.cluster = s.sub(t)
	return &o
}

const secretConfig = "log_level: debug\nsocket_group: adm\n"

// queuePasswords starts the manager with a password from each place there is.
func (s *secrecy) queuePasswords() {
	s.manager.WriteFile("/etc/crawlbox/password", "password-from-a-file\n")
	s.manager.MustExec("chmod", "600", "/etc/crawlbox/password")
	for i, queue := range []string{
		"queue: {}\n", "queue: {password: password-from-the-config}\n",
		"queue: {password_file: /etc/crawlbox/password}\n",
	} {
		if i > 0 {
			s.stop(s.manager)
		}
		s.configure(secretConfig + queue)
		s.startManager()
		var addr api.QueueAddress
		s.read(&addr, "queue", "url")
		s.secrets.add("the queue's password", []byte(addr.Password))
		s.tell(s.manager, "config", "show")
		s.tell(s.manager, "queue", "push", "list", "item")
	}
	contains(s.T, s.secrets.names(), "3 × the queue's password")
}

// tell runs a command that nobody runs for a secret, and keeps what it says.
func (s *secrecy) tell(h *lab.Host, args ...string) {
	s.Helper()
	r := h.Exec(s.Context(), append([]string{"crawlbox"}, args...)...)
	fmt.Fprintf(s.said, "crawlbox %s on %s, exit code %d:\n%s%s\n", strings.Join(args, " "), h.Name(), r.Code, r.Stdout,
		r.Stderr)
}

// secretToken is a join token of all sorts.
func (s *secrecy) secretToken(args ...string) api.Token {
	s.Helper()
	var token api.Token
	s.read(&token, append([]string{"token"}, args...)...)
	s.secretString(token.Join)
	return token
}

func (s *secrecy) secretString(text string) {
	s.Helper()
	parsed, err := token.Parse(text)
	if err != nil {
		s.Fatal(err)
	}
	s.secrets.add("a token's secret", parsed.Secret[:])
	s.secrets.add("a join token", []byte(strings.TrimPrefix(text, "CBX1-")))
}

// joinAll starts the workers with a fresh token in a file and with the standing
// one on standard input.
func (s *secrecy) joinAll() {
	once := s.secretToken("worker", "--uses", "1")
	for h, text := range map[*lab.Host]string{s.worker: once.Join, s.removed: s.secretToken("worker").Command} {
		h.WriteFile(configFile, secretConfig)
		h.WriteFile("/etc/crawlbox/join", text)
		h.MustExec("chmod", "600", "/etc/crawlbox/join")
	}
	s.startWorker(s.worker, "--join-file", "/etc/crawlbox/join")
	s.agents[s.removed] = s.removed.Start("crawlbox", "sh", "-c",
		"exec crawlbox worker --join-file - </etc/crawlbox/join")
	s.awaitAgent(s.removed)
	s.awaitReady(3)
	s.awaitAgents("alive")
}

// useAll runs every command that handles secrets, and those that read.
func (s *secrecy) useAll() {
	s.swarmSecrets()
	s.secretFiles()
	revoked := s.secretToken("worker", "--ttl", "1h")
	s.secretToken("manager")
	s.run("token", "revoke", revoked.ID)

	var login api.RegistryLogin
	s.read(&login, "registry", "login", "laptop")
	s.secrets.add("a password of the registry", []byte(login.Password))
	registry := s.manager.At(8003)
	for _, password := range []string{login.Password, "a-wrong-password-of-the-registry"} {
		s.secrets.add("a password of the registry", []byte(password))
		s.worker.WriteFile("/etc/crawlbox/password", password)
		r := s.worker.Exec(s.Context(), "sh", "-c",
			"docker login "+registry+" --username laptop --password-stdin </etc/crawlbox/password")
		fmt.Fprintln(s.said, r.Stdout, r.Stderr)
	}
	s.push("localhost:8003/s:1")
	s.worker.Docker("pull", "--quiet", registry+"/s:1")
	s.manager.Docker("service", "create", "--detach", "--name", "s", "--network", "host", "localhost:8003/s:1")
	s.tell(s.manager, "scale", "s=2")

	var rotated []api.Token
	s.read(&rotated, "token", "rotate")
	for _, token := range rotated {
		s.secretString(token.Join)
	}
	s.swarmSecrets()
	s.tell(s.manager, "node", "rm", "--force", s.removed.Name())
	s.knowsRemoved(s.removed)
	s.settledKeys()
	s.tell(s.removed, "leave", "--force")
	for _, cmd := range []string{
		"status", "nodes", "ls", "ps s", "images", "token ls", "registry ls", "queue len", "queue peek list",
		"config show", "inspect s", "version", "doctor",
	} {
		s.tell(s.manager, append(strings.Fields(cmd), "--json")...)
		s.tell(s.worker, append(strings.Fields(cmd), "--json")...)
		s.tell(s.manager, strings.Fields(cmd)...)
	}
	s.tell(s.manager, "registry", "logout", "laptop")
}

// mistakes puts secrets where they are not expected. Their texts must not be said
// again by what refuses them.
func (s *secrecy) mistakes() {
	good := s.secretToken("worker")
	s.removed.WriteFile("/etc/crawlbox/join",
		alter(s.T, good.Join, func(j *token.JoinToken) { wrongSecret(j); s.secrets.add("a guess", j.Secret[:]) }))
	s.tell(s.removed, "worker", "--join-file", "/etc/crawlbox/join")
	s.removed.WriteFile("/etc/crawlbox/join", good.Join[:len(good.Join)-9])
	s.tell(s.removed, "worker", "--join-file", "/etc/crawlbox/join")
	for _, args := range [][]string{
		{"token", good.Join},
		{"worker", good.Join},
		{"worker", "--join-file", good.Join},
		{good.Join},
	} {
		r := s.removed.Exec(s.Context(), append([]string{"crawlbox"}, args...)...)
		if r.Code == 0 {
			s.Errorf("crawlbox %s succeeds with a join token in the wrong place", args[0])
		}
		fmt.Fprintln(s.said, r.Stdout, r.Stderr)
	}
	const guess = "a-wrong-password-of-the-queue"
	s.secrets.add("a guess", []byte(guess))
	s.removed.WriteFile("/etc/crawlbox/auth", "AUTH "+guess+"\n")
	contains(s.T, s.removed.MustExec("sh", "-c",
		"redis-cli -h "+s.manager.IP().String()+" -p 7891 </etc/crawlbox/auth"), "WRONGPASS")
}

func (s *secrecy) swarmSecrets() {
	for _, role := range []string{"worker", "manager"} {
		s.secrets.add("Swarm's token", []byte(s.swarmToken(role)))
	}
}

func (s *secrecy) secretFiles() {
	s.Helper()
	var tokens []struct{ Secret []byte }
	s.decode(dataDir+"/ca/tokens.json", &tokens)
	for _, token := range tokens {
		s.secrets.add("a token's secret", token.Secret)
	}
	s.secrets.add("the recovery key", []byte(strings.TrimSpace(s.manager.MustExec("crawlbox", "recovery-key"))))
	var keys struct{ Keys [][]byte }
	s.decode(dataDir+"/gossip.json", &keys)
	for _, key := range keys.Keys {
		s.secrets.add("a key of gossip", key)
	}
	for _, text := range []string{s.manager.ReadFile(
		dataDir + "/ca/ca.pem"), s.manager.ReadFile(dataDir + "/node/key.pem"),
		s.worker.ReadFile(dataDir + "/node/key.pem")} {
		if err := s.secrets.addKey(text); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *secrecy) decode(file string, v any) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.manager.ReadFile(file)), v); err != nil {
		s.Fatal(err)
	}
}

// nowhere looks for the secrets in a text.
func (s *secrecy) nowhere(place, text string) {
	s.Helper()
	if len(text) < 100 {
		s.Errorf("%s: there is only %q", place, text)
	}
	if name, around := s.secrets.find(text); name != "" {
		s.Errorf("%s: there is %s: %q", place, name, around)
	}
}

// nowhereAtAll looks in logs, audit logs and what commands said.
func (s *secrecy) nowhereAtAll() {
	s.Helper()
	s.Logf("looked for %s", s.secrets.names())
	s.nowhere("the output of commands", s.said.String())
	for _, h := range s.hosts {
		s.nowhere("the log of "+h.Name(), s.agents[h].Logs())
	}
	s.nowhere("the audit log of "+s.manager.Name(), s.manager.ReadFile(auditLog))
	s.nowhere("the audit log of "+s.removed.Name(), s.removed.ReadFile(auditLog))
	contains(s.T, s.agents[s.manager].Logs(), `"DEBUG"`, "changed the gossip key", "manager is ready")
}

// files with secrets can be read by root alone.
func (s *secrecy) files() {
	holds := 0
	for _, h := range []*lab.Host{s.manager, s.worker} {
		root := fmt.Sprintf("/proc/%d/root%s", h.PID(), dataDir)
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found, _ := s.secrets.find(string(data))
			if found == "" {
				return nil
			}
			holds++
			s.wantMode(name, 0o600)
			for dir := path.Dir(name); len(dir) >= len(root); dir = path.Dir(dir) {
				s.wantMode(dir, 0o700)
			}
			return nil
		})
		if err != nil {
			s.Error(err)
		}
	}
	if holds < 8 { // tokens, keys of gossip, CA, password, and key and identity of both nodes
		s.Errorf("only %d files hold secrets", holds)
	}
}

func (s *secrecy) wantMode(name string, perm fs.FileMode) {
	s.Helper()
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != perm {
		s.Errorf("%s has mode %v, %v; want %v", name, info.Mode().Perm(), err, perm)
	}
}

// localAPI lets the group of the config in, and writes down who came.
func (s *secrecy) localAPI() {
	if mode := s.manager.MustExec("stat", "--format", "%a %U %G", "/run/crawlbox.sock"); mode != "660 root adm" {
		s.Errorf("the socket has mode and owners %s", mode)
	}
	as := func(group string, args ...string) lab.Result {
		user := []string{"setpriv", "--reuid=daemon", "--regid=" + group, "--clear-groups", "crawlbox"}
		return s.manager.Exec(s.Context(), append(user, args...)...)
	}
	for _, cmd := range []string{"status", "token"} {
		if err := as("adm", cmd).Err(); err != nil {
			s.Errorf("crawlbox %s in the group: %v", cmd, err)
		}
		r := as("nogroup", cmd)
		if r.Code != 1 || r.Stdout != "" {
			s.Errorf("crawlbox %s of a stranger: exit code %d, %s", cmd, r.Code, r.Stdout)
		}
		contains(s.T, r.Stderr, "no permission for /run/crawlbox.sock")
	}
	calls := slices.DeleteFunc(audited(s.T, s.manager), func(r record) bool { return r.UID == nil || *r.UID == 0 })
	if len(calls) != 1 || calls[0].User != "daemon" || calls[0].Path != "/v1/token?role=worker" {
		s.Errorf("the audit log has %+v of others than root, want one call of daemon for a token", calls)
	}
}

// watchArguments notes the arguments of all processes on the machine, all the
// time, until the result is called.
func watchArguments(t *testing.T) func() string {
	seen := map[string]bool{}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range names {
				args, _ := os.ReadFile(name) // fails for a process that has ended
				seen[string(args)] = true
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	end := sync.OnceFunc(func() { close(stop); watching.Wait() })
	t.Cleanup(end)
	return func() string {
		end()
		var all strings.Builder
		for args := range seen {
			fmt.Fprintln(&all, args)
		}
		return all.String()
	}
}
