package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Overview sums up the cluster as this node sees it.
type Overview interface {
	Status(ctx context.Context) (Status, error)
}

func OverviewArea(o Overview) Area {
	return Area{"GET /v1/status": Value(plain(o.Status))}
}

// Local holds what every node answers about itself, and does with itself.
type Local interface {
	Config(ctx context.Context) (string, error)
	Leave(ctx context.Context, force bool) error
	Neighbours(ctx context.Context) ([]doctor.Neighbour, error)
	UpgradeState(ctx context.Context) (upgrade.State, error)
}

func LocalArea(l Local) Area {
	return Area{
		"GET /v1/config":     Value(plain(l.Config)),
		"GET /v1/neighbours": List(plain(l.Neighbours)),
		"GET /v1/upgrade":    Value(plain(l.UpgradeState)),
		"POST /v1/leave":     Action(done(query(flag, "force"), l.Leave)),
	}
}

// Status is the state of this node and its cluster in short.
type Status struct {
	Version  string    `json:"version"` // of crawlbox
	Mode     string    `json:"mode"`    // manager or worker: how crawlbox was started
	Node     string    `json:"node"`    // host name
	Addr     string    `json:"addr"`    // advertised address
	Started  time.Time `json:"started,omitzero"`
	Docker   Docker    `json:"docker"`
	Manager  bool      `json:"manager"`  // its Docker Engine is a swarm manager now
	Cluster  string    `json:"cluster"`  // ID of the swarm
	Nodes    Count     `json:"nodes"`    // ready of all
	Active   int       `json:"active"`   // of those that are ready, those that take tasks
	Managers Count     `json:"managers"` // reachable of all
	State    Count     `json:"state"`    // reachable of the managers that have the cluster's state; 0 of 0: not known
	Services Count     `json:"services"` // with all replicas running or complete, of all
	Tasks    Count     `json:"tasks"`    // running of desired
	Registry Registry  `json:"registry"`
	Queue    *Queue    `json:"queue,omitempty"` // nil: off
	Problems []Problem `json:"problems"`        // the worst first
}

// Count is a part of a whole.
type Count struct {
	Have int `json:"have"`
	Want int `json:"want"`
}

// Docker is the Docker Engine of this node.
type Docker struct {
	State   string `json:"state"` // running or stopped
	Version string `json:"version"`
	Host    string `json:"host"` // its address, such as unix:///var/run/docker.sock
}

// Registry holds the addresses where images are pushed and pulled on this node.
type Registry struct {
	Local    string `json:"local"`            // localhost:8003
	Public   string `json:"public,omitempty"` // ADDRESS:8003 on the manager that holds it
	Dir      string `json:"dir"`
	Free     int64  `json:"free"`   // bytes free under Dir
	Images   int    `json:"images"` // tags; on a worker 0
	Used     int64  `json:"used"`   // bytes that a worker's mirror keeps
	ReadOnly bool   `json:"read_only"`

	Traffic Traffic `json:"traffic"`
}

// Traffic counts the bytes of images that moved since crawlbox was started. Of a manager it
// has what was sent to other nodes, nothing else.
type Traffic struct {
	FromManager int64 `json:"from_manager"`
	FromNodes   int64 `json:"from_nodes"` // other than managers
	FromCache   int64 `json:"from_cache"` // of this node, to its Docker
	Sent        int64 `json:"sent"`       // to other nodes, in pieces
	BadPieces   int64 `json:"bad_pieces"` // that did not match their checksum
	Retries     int64 `json:"retries"`    // pieces that a node did not give as it should
}

// Queue is the queue that speaks Redis, as a manager sees it: by the process that has it, or by that which its own
// programs get to it through.
type Queue struct {
	Addr    string `json:"addr"`
	Home    string `json:"home,omitempty"`    // host name of the manager that has it, or its settings; empty: it is gone
	Engine  string `json:"engine,omitempty"`  // what keeps the items: redis://HOST:PORT/DATABASE, or valkey; empty: crawlbox
	Primary string `json:"primary,omitempty"` // host name of the manager that Valkey is on; empty: there is none, or not yet
	Replica string `json:"replica,omitempty"` // of that which its replica is on

	Serving   bool     `json:"serving"`
	Restarts  int      `json:"restarts"` // of this manager's process, since crawlbox was started
	Keys      int64    `json:"keys"`
	Clients   int64    `json:"clients"`         // of this manager's process
	Memory    int64    `json:"memory"`          // bytes of data and clients
	MaxMemory int64    `json:"max_memory"`      // bytes, above which writes are refused; 0: no bound
	Lacks     []string `json:"lacks,omitempty"` // parts of its sandbox that the machine does not allow
}

// Status returns the state of this node and its cluster.
func (c *Client) Status(ctx context.Context) (v Status, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/status", nil, &v)
}

// Config returns the effective config as YAML, its secrets hidden.
func (c *Client) Config(ctx context.Context) (v string, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/config", nil, &v)
}

// Leave takes this node out of the cluster and ends its crawlbox.
func (c *Client) Leave(ctx context.Context, force bool) error {
	return c.call(ctx, http.MethodPost, "/v1/leave?force="+strconv.FormatBool(force), nil, nil)
}

// Neighbours has this node and some others, the managers first, try each other's
// ports. It takes a few seconds where firewalls drop what comes.
func (c *Client) Neighbours(ctx context.Context) (v []doctor.Neighbour, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/neighbours", nil, &v)
}

// UpgradeState returns what version this node runs, and how far its upgrade is.
func (c *Client) UpgradeState(ctx context.Context) (v upgrade.State, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/upgrade", nil, &v)
}

// Problem is something that is not as it should be: of this node, of the cluster, or of a
// service.
type Problem struct {
	Level   Level  `json:"level"`
	Kind    string `json:"kind"`              // what it is, for programs, such as node-down
	Subject string `json:"subject,omitempty"` // the node or service that it is of; empty: the cluster, or this node
	Text    string `json:"text"`              // a sentence: what, where, and behind the last semicolon what to do
}

// Level says how bad a problem is.
type Level string

// Levels, the worst first.
const (
	Bad     Level = "bad"     // something does not work
	Warning Level = "warning" // something may not work before long, or was not done
	Note    Level = "note"    // all works: somebody wanted it so and may have forgotten it, or it is news
)

// Levels are all of them, the worst first.
var Levels = []Level{Bad, Warning, Note}

// UnmarshalJSON reads a problem, also one of an earlier version, which is its text alone.
func (p *Problem) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.Text) == nil {
		p.Level, p.Kind = Warning, "other"
		return nil
	}
	type plain Problem
	return json.Unmarshal(data, (*plain)(p))
}

// Kinds of problems. In each level they are shown in this order.
const (
	Removed          = "removed"           // this node is no longer one of the cluster
	DockerHere       = "docker"            // the engine of this node does not answer
	AddressGone      = "address"           // this machine no longer has the address that others know
	ManagerAway      = "manager-away"      // the manager that this node follows does not answer
	CertificateEnds  = "certificate"       // this node's is about to end, and could not be renewed
	StateBehind      = "state"             // that of the cluster is not the newest here, and can't be changed
	MachineUnfit     = "machine"           // what `crawlbox doctor` has found
	NoNode           = "no-node"           // no node takes tasks
	NodeDown         = "node-down"         // Swarm does not hear from a node
	DockerStopped    = "docker-stopped"    // the engine of another node does not answer
	CrawlboxStopped  = "crawlbox-stopped"  // no crawlbox runs on a node
	DiskFull         = "disk-full"         // of a node
	QueueDown        = "queue-down"        //
	QueueFull        = "queue-full"        //
	QueueDisk        = "queue-disk"        // it can't write
	FileBroken       = "file-broken"       // the config file
	ServiceFailing   = "service-failing"   // its tasks fail again and again
	ServiceForgotten = "service-forgotten" // Swarm does not look for nodes for its tasks any longer
	UpdatePaused     = "update-paused"     // it stopped halfway
	DeployFailed     = "deploy-failed"     // and left the service as it is
	QueueChanged     = "queue-changed"     // after a service was told of it
	ServiceShort     = "service-short"     // fewer replicas run than should
	FewManagers      = "few-managers"      // one more that fails, and no change is possible
	Restoring        = "restore"           // the cluster lacks something that its backup has
	NoBackup         = "backup"            // the cluster has none that is good, or not where it should be
	NodeUnknown      = "node-unknown"      // Swarm does not know yet whether it is up
	DiskLow          = "disk-low"          //
	SameNames        = "same-names"        // nodes share a host name
	VersionsApart    = "versions"          // nodes run different versions
	UpgradeFailed    = "upgrade"           // of this node, or it is under way
	RolledBack       = "rolled-back"       // the last deploy of a service failed and the version before runs
	Interrupted      = "interrupted"       // the last deploy of a service was
	FileNotApplied   = "file-not-applied"  // the config file, or a service of it
	Uneven           = "uneven"            // all replicas of a service run on one node
	QueueSandbox     = "queue-sandbox"     // lacks a part
	QueueCopy        = "queue-copy"        // no other manager has one that is new
	QueueFront       = "queue-front"       // it can't be had by its name on a node
	QueueAlone       = "queue-alone"       // its Valkey has no replica
	QueueDead        = "queue-dead"        // items came back too often
	ScheduleHeld     = "schedule"          // it begins no runs, or began none when it should have
	AlertsHeld       = "alerts"            // they can't be told on a channel
	QueueTaken       = "queue-taken"       // it is here since its home before is gone
	AuditLog         = "audit"             // it can't be written
	ImagesBehind     = "images"            // a manager does not have all of them yet
	NodeIdle         = "node-idle"         // it is drained or paused, or has no replicas of a service
	LeftFile         = "left-file"         // a service that is no longer in the config file runs on
	KeptAway         = "kept-away"         // a service of the config file was removed by hand
	NotDeployed      = "not-deployed"      // a service of the config file has no image yet
	RestartNeeded    = "restart-needed"    // the config file says what crawlbox did not begin with
	OtherFile        = "other-file"        // the services in force are those of another manager's config file
)

// Kinds are all of them.
var Kinds = []string{
	Removed, DockerHere, AddressGone, ManagerAway, CertificateEnds, StateBehind, MachineUnfit, NoNode, NodeDown,
	DockerStopped, CrawlboxStopped, DiskFull, QueueDown, QueueFull, QueueDisk, FileBroken, ServiceFailing,
	ServiceForgotten, UpdatePaused, DeployFailed, QueueChanged, ServiceShort, FewManagers, Restoring, NoBackup,
	NodeUnknown, DiskLow, SameNames, VersionsApart, UpgradeFailed, RolledBack, Interrupted, FileNotApplied,
	RestartNeeded, Uneven,
	QueueFront, QueueAlone, QueueDead, QueueSandbox, QueueCopy, ScheduleHeld, AlertsHeld,
	QueueTaken, AuditLog, ImagesBehind, NodeIdle, LeftFile,
	KeptAway,
	NotDeployed,
	OtherFile,
}

// Starting answers the calls of a node that does not serve them yet, by saying what it is about. Its methods
// may be called at the same time.
type Starting struct {
	tell  func(string)
	phase atomic.Pointer[string]
}

// NewStarting returns one that tells what it hears; tell may be nil.
func NewStarting(tell func(phase string)) *Starting {
	if tell == nil {
		tell = func(string) {}
	}
	return &Starting{tell: tell}
}

// Phase is told what the node is about, in a few words.
func (s *Starting) Phase(text string) {
	s.phase.Store(&text)
	s.tell(text)
}

func (s *Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := &Error{Code: CodeUnavailable, Message: "this node starts and does not serve yet"}
	if phase := s.phase.Load(); phase != nil {
		e.Message += ": " + *phase
	}
	(&handler{log: slog.New(slog.DiscardHandler)}).answer(w, r, e.status(), e)
}

// Alerts answers for alerts, on the manager that leads.
type Alerts interface {
	Alerts(ctx context.Context) (AlertsSeen, error)
	// TestAlerts sends a test on a channel, or on all of them where none is named.
	TestAlerts(ctx context.Context, channel string) ([]AlertTest, error)
	// SilenceAlerts keeps alerts of a rule, or about something, from being told for a time.
	SilenceAlerts(ctx context.Context, req SilenceRequest) error
	UnsilenceAlerts(ctx context.Context, of string) error
}

func AlertsArea(a Alerts) Area {
	return Area{
		"GET /v1/alerts":                  Value(plain(a.Alerts)),
		"POST /v1/alerts/test":            List(answered(query(optional, "channel"), a.TestAlerts)),
		"POST /v1/alerts/silences":        Action(done(silenceRequest, a.SilenceAlerts)),
		"DELETE /v1/alerts/silences/{of}": Action(done(path("of"), a.UnsilenceAlerts)),
	}
}

// AlertsSeen is what is known of alerts. It has no secret of a channel.
type AlertsSeen struct {
	Alerts   []Alert          `json:"alerts"`
	Silences []alerts.Silence `json:"silences"`
	Channels []AlertChannel   `json:"channels"`
	Deadman  *Deadman         `json:"deadman,omitempty"` // nil: there is none
	Lost     int              `json:"lost,omitempty"`    // messages that could not be sent
	Untold   int              `json:"untold,omitempty"`  // alerts for which there was no room
}

// Alert is one, as it stands.
type Alert struct {
	alerts.Alert
	Silenced bool `json:"silenced,omitempty"`
	Waiting  int  `json:"waiting,omitempty"` // messages of it that no channel has taken yet
}

// AlertChannel is where alerts are told.
type AlertChannel struct {
	Name    string    `json:"name"`
	Type    string    `json:"type"`
	Waiting int       `json:"waiting,omitempty"` // messages
	Failing time.Time `json:"failing,omitzero"`  // since
	Why     string    `json:"why,omitempty"`     // it fails, or can't be used
}

// Deadman is the switch that is called while the cluster is well.
type Deadman struct {
	Called time.Time `json:"called,omitzero"` // last
	Why    string    `json:"why,omitempty"`   // it was not since
}

// AlertTest is what became of a test.
type AlertTest struct {
	Channel string `json:"channel"`
	Error   string `json:"error,omitempty"` // empty: it was taken
}

// SilenceRequest asks for a silence.
type SilenceRequest struct {
	Of     string        `json:"of"` // a rule, what alerts are about, or all
	For    time.Duration `json:"for_ns"`
	Reason string        `json:"reason,omitempty"`
}

func silenceRequest(r *http.Request) (req SilenceRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("of", req.Of), slog.Duration("for", req.For))
	return req, nil
}

// Alerts returns what is known of alerts.
func (c *Client) Alerts(ctx context.Context) (v AlertsSeen, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/alerts", nil, &v)
}

// TestAlerts sends a test on a channel, or on all.
func (c *Client) TestAlerts(ctx context.Context, channel string) (v []AlertTest, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/alerts/test?channel="+url.QueryEscape(channel), nil, &v)
}

// SilenceAlerts keeps alerts from being told for a time.
func (c *Client) SilenceAlerts(ctx context.Context, req SilenceRequest) error {
	return c.call(ctx, http.MethodPost, "/v1/alerts/silences", req, nil)
}

// UnsilenceAlerts ends a silence.
func (c *Client) UnsilenceAlerts(ctx context.Context, of string) error {
	return c.call(ctx, http.MethodDelete, "/v1/alerts/silences/"+url.PathEscape(of), nil, nil)
}
