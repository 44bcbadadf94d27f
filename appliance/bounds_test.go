package appliance_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// serving are the packages that strangers, nodes and spiders reach.
var serving = []string{
	"appliance/agent", "appliance/audit", "appliance/base", "appliance/bootstrap", "appliance/cluster",
	"appliance/control", "appliance/controller", "appliance/guard", "appliance/holder", "appliance/node",
	"appliance/sockowner",
	"appliance/logkeeper", "appliance/logstore", "appliance/tasklog", "appliance/upgrade",
	"embedded/gossip", "embedded/mirror", "embedded/queue", "embedded/registry",
}

// grows is something that somebody else than root can make grow, or have done.
type grows struct {
	what  string // PACKAGE.TYPE.FIELD, or in words where it is no field
	who   string // can make it grow; root is of this machine or of the cluster
	bound string
	test  string // PACKAGE.TEST that exceeds the bound; not needed where only root can
}

// everything that a stranger, a node or a spider can make grow or have done. A field of
// a serving package that is a map, a list or a cache has to be here.
var everything = []grows{
	// Connections.
	{
		"appliance/guard.perSourceLimit.groups", "stranger",
		"1024 connections at a time, 64 of one address, the oldest gives way",
		"appliance/guard.TestListener_OldestOfAFullAddressGivesWay",
	},
	{
		"appliance/guard.perSourceLimit.bySize", "stranger", "as groups: one list for each size",
		"appliance/guard.TestPerSourceLimit_LargestIsLargest",
	},
	{
		"appliance/guard.group.conns", "stranger", "as groups",
		"appliance/guard.TestListener_FullHouseIsAtTheCostOfTheLargest",
	},
	{"time of a connection that proves nothing", "stranger", "30 s", "appliance/guard.TestListener_Patience"},
	{
		"appliance/guard.Listener.admitted", "node", "256 connections of each, the oldest gives way",
		"appliance/guard.TestListener_PartyGivesWayToItself",
	},
	{
		"embedded/gossip.streams.open", "stranger", "64 streams, 8 of one address, 4 MiB each, the oldest gives way",
		"embedded/gossip.TestStreams_OneAddressKeepsItsNewest",
	},
	{
		"embedded/mirror/exchange/wire.Links.links", "node", "one for each node that is asked, while it stands",
		"embedded/mirror/exchange/wire.TestLinks_NobodyThere",
	},

	// The exchange of a join, and what nodes may ask of a manager.
	{
		"appliance/cluster/enroll.authLimiter.failures", "stranger",
		"4096 networks, the one quiet for longest is forgotten", "appliance/cluster/enroll.TestServer_RemembersLittle",
	},
	{
		"appliance/cluster/member.List.list", "who has a join token", "5000 nodes",
		"appliance/cluster/member.TestPut_Full",
	},
	{
		"appliance/cluster/backup.Content.Documents", "who has the recovery key", "64 MiB in all, 16384 of each kind",
		"appliance/cluster/backup.TestBackup_Refused",
	},
	{"appliance/cluster/backup.Content.Files", "who has the recovery key", "as Documents",
		"appliance/cluster/backup.TestBackup_Refused"},
	{"appliance/cluster/backup.Node.Labels", "who has the recovery key", "as Documents",
		"appliance/cluster/backup.TestBackup_Refused"},
	{
		"backups that a node keeps", "manager", "the newest 3 of its cluster, 64 MiB each",
		"appliance/cluster/backup.TestShelf",
	},
	{
		"appliance/controller/restore.Controller.heard", "who has a join token", "one for each member, 5000",
		"appliance/cluster/member.TestPut_Full",
	},
	{
		"notices that a node is told", "stranger", "10 of one address at once, 1 a second, 4 KiB each",
		"appliance/agent/notices.TestAnswer",
	},
	{
		"sealed backups that a node gives out", "stranger", "3 at once, then one in 20 s",
		"appliance/agent/copies.TestFetch",
	},
	{
		"appliance/cluster/member.List.moved", "node", "one for each node on the list, until the list is written",
		"appliance/cluster/member.TestPut_Full",
	},
	{
		"commits and documents of the cluster's state", "node", "32 commits, 16384 documents, 8 MiB each",
		"appliance/cluster/state.TestDisk_IsBounded",
	},
	{
		"histories of services that are gone", "who deploys", "500, those that changed last",
		"appliance/controller/imagegc.TestGone",
	},
	{
		"appliance/cluster/enroll.Server.acks", "node", "one for each node with a certificate; see List.list",
		"appliance/cluster/member.TestPut_Full",
	},
	{
		"appliance/cluster/enroll.Server.claims", "node", "1024, then they are forgotten",
		"appliance/cluster/enroll.TestClaim_ManyInVain",
	},
	{"appliance/base/bound.Rate.known", "stranger", "as many as NewRate is told", "appliance/base/bound.TestRate"},
	{"appliance/base/bound.Places.of", "stranger", "those who are in or wait", "appliance/base/bound.TestPlaces"},
	{
		"certificates that the CA signs by a renewal", "node", "30, and then one a minute for each",
		"appliance/cluster/enroll.TestRenew_InALoop",
	},
	{
		"certificates that the CA signs by a join", "who has a join token", "30, and then one a minute for each key",
		"appliance/cluster/enroll.TestJoin_InALoop",
	},
	{"questions for news", "node", "60, and then two a second for each", "appliance/cluster/enroll.TestFollow_InALoop"},
	{"bytes of a question or an answer", "node", "what its reader says", "appliance.TestReads"},
	{
		"bytes of what a node says of a stage", "node", "64 KiB a line, and 30 s without one",
		"appliance/agent.TestStream_Endless",
	},
	{"addresses that a node connects to", "node", "those where managers know nodes", "appliance.TestConnects"},
	{"addresses that managers tell", "node", "5000", "appliance/cluster/addressbook.TestSet"},
	{
		"ports that a node has others try", "node", "10 times, and then once in 10 s for each",
		"appliance/agent/reach.TestAnswer_InALoop",
	},
	{
		"appliance/agent/peaks.Watcher.running", "who deploys", "4096 containers of tasks that run",
		"appliance/agent/peaks.TestWatcher_Bounds",
	},
	{
		"appliance/agent/peaks.ended.of", "spider", "256 tasks of each service that have ended, 4096 of all, a week",
		"appliance/agent/peaks.TestWatcher_Bounds",
	},
	{
		"appliance/agent/peaks.answer.Peaks", "node", "for one call; 64 KiB", "appliance/base/bound.TestJSON",
	},
	{"appliance/agent.holders.have", "node", "for one call; 1 MiB of each node", "appliance/base/bound.TestJSON"},

	// Logs.
	{
		"appliance/tasklog.joiner", "spider", "a line of 256 KiB of each stream, then it is cut",
		"appliance/tasklog.TestView_AnyInterleaving",
	},
	{
		"appliance/tasklog.lastLines.seen", "spider", "the streams of a task, which are two",
		"appliance/tasklog.TestView_Tail",
	},
	{
		"what is read of how a run's task began and ended", "spider",
		"512 KiB and a line of each, of 64 tasks at a time; its record keeps 30 lines of 200 bytes",
		"appliance/tasklog.TestEnds",
	},
	{"files of logs that a node keeps", "spider", "5 GB, or 5 % of the disk; a fifth of that for each service",
		"appliance/logstore.TestRoom_Runs"},
	{"appliance/logstore.Store.tasks", "spider", "20,000 tasks, the oldest goes", "appliance/logstore.TestRoom_Oldest"},
	{"appliance/logstore.entry.files", "spider", "as the files of a node", "appliance/logstore.TestRoom_Runs"},
	{"appliance/logstore.Page.Lines", "spider", "128 KiB and a line", "appliance/agent/logs.TestRead"},
	{"appliance/logstore.lines.raw", "spider", "64 KiB and a line for each task that runs",
		"appliance/logkeeper.TestKeeper_Flood"},
	{"appliance/logkeeper.Keeper.known", "root", "1000 tasks that run", ""},
	{"appliance/agent/logs.Nodes.after", "root", "the nodes of the swarm", ""},
	{"appliance/agent/logs.listAnswer.Tasks", "node", "5 MB", "appliance/base/bound.TestJSON"},
	{"appliance/agent/logs.excerptsAnswer.Excerpts", "node", "8 MiB", "appliance/base/bound.TestJSON"},
	{"appliance/tasklog.following.known", "root", "the tasks of a service that Swarm knows", ""},
	{"appliance/control.logChoice.listed", "root", "the same tasks", ""},
	{"appliance/control.logChoice.versions", "root", "the versions of these tasks", ""},
	{
		"logs of tasks that are read at a time, and their last lines", "spider", "512 for each who reads them, 64 MiB",
		"appliance/tasklog.TestView_Bounds",
	},
	{
		"events and lines that wait for a client of the local API", "root", "256 events, 8 MiB of lines",
		"appliance/api.TestEvents_NobodyWaitsForWhoLooks",
	},
	{
		"lines of the audit log", "stranger",
		"30 of one source and 1000 of all, and then one in minutes and a line for many",
		"appliance/audit.TestFlood_KeepsWhatOthersDid",
	},
	{
		"bytes of the audit log in a day of floods", "stranger", "less than the files hold in a month",
		"appliance/audit.TestFlood_ADay",
	},
	{
		"lines of the audit log by tries to join", "stranger", "the same, through a node's own port",
		"appliance/node.TestAudit_JoinFlood",
	},
	{"appliance/audit.flood.events", "stranger", "64 events", "appliance/audit.TestFlood_MadeUpEvents"},
	{"appliance/audit.eventState.from", "stranger", "4096 sources", "appliance/audit.TestFlood_MadeUpEvents"},
	{
		"lines of the log by gossip", "stranger", "5, and then one in 30 s",
		"embedded/gossip.TestLog_MapsLevelsAndLimits",
	},
	{
		"lines of the log by the registry", "node", "20, and then one in 10 s",
		"embedded/registry.TestWarningsAreBounded",
	},

	// The registry on loopback and on the network.
	{
		"questions to dockerd, and looks into its files", "spider", "one a second, and one in 20 ms",
		"appliance/sockowner.TestProver_Flood",
	},
	{"appliance/sockowner.Prover.waiting", "spider", "8192 connections", "appliance/sockowner.TestProver_Queue"},
	{"appliance/holder.finder.waiting", "queue's process", "4096 connections", "appliance/holder.TestFinder_Queue"},
	{
		"looks through the processes of a node", "queue's process", "one in 20 ms, a fifth of a processor",
		"appliance/holder.TestFinder_Flood",
	},
	{"appliance/holder.asker.endings", "queue's process", "8192 runs", "appliance/holder.TestServer_Flood"},
	{"appliance/holder.asker.runs", "queue's process", "8 runs each", "appliance/holder.TestServer_MadeUp"},
	{
		"answers that wait for the queue's process", "queue's process", "as many as questions, which are not read then",
		"appliance/holder.TestServer_NobodyReads",
	},
	{
		"appliance/holder.table.changed", "queue's process", "one for each container that is waited for; see endings",
		"appliance/holder.TestEnded_Bounds",
	},
	{
		"appliance/holder.table.known", "root", "containers of the engine, and 4096 that ended",
		"appliance/holder.TestEnded_Bounds",
	},
	{
		"appliance/holder.processes.of", "spider", "for one look; processes in containers",
		"appliance/holder.TestFinder_Flood",
	},
	{
		"appliance/holder/ask.Client.who", "spider", "one for each call that waits", "appliance/holder.TestServer",
	},
	{
		"appliance/holder/ask.Client.ended", "spider", "one for each container that holds items",
		"appliance/holder.TestServer",
	},
	{"what is found out of a connection", "spider", "once for each connection", "appliance/agent/owner.TestProof_Once"},
	{
		"comparisons of passwords", "stranger", "2 at a time, 10 of one network and then one in 10 s",
		"embedded/registry/access.TestPasswords_RateLimit",
	},
	{
		"embedded/registry/access.passwords.right", "who has a login", "one for each login",
		"embedded/registry/access.TestPasswords_Remembered",
	},
	{
		"embedded/registry.pushes.repos", "node", "what was found or brought, for 2 minutes",
		"embedded/registry.TestPushes_GrowByWhatIsThere",
	},
	{
		"embedded/registry.pushState.asked", "who may push", "requests that run",
		"embedded/registry.TestPushes_GrowByWhatIsThere",
	},
	{"embedded/registry/archive.Writer.done", "root", "one for each file of the images, in one command", ""},
	{"embedded/registry.pushState.told", "who may push", "as repos", "embedded/registry.TestPushes_EndedAreForgotten"},
	{
		"embedded/registry.Registry.landed", "who may push", "one for each request that runs",
		"embedded/registry.TestPushes_GrowByWhatIsThere",
	},
	{
		"manifests in memory that are pushed", "who may push", "32 MiB of short ones, 32 MiB of long ones, 30 s wait",
		"embedded/registry.TestManifests_Room",
	},
	{"tags of images", "who may push", "50,000 in all", "appliance/registries/tags.TestTags_Full"},
	{
		"bytes of the tags of images", "who may push", "8 MiB in each of 64 documents",
		"appliance/registries/tags.TestTags_Crowded",
	},
	{
		"connections to a node for what managers have not", "node", "32 of each node",
		"appliance/node/images.TestFew",
	},
	{
		"uploads that are passed on to another manager", "who may push", "16 at a time, from the disk",
		"appliance/registries.TestSet_PassageBounds",
	},
	{"length of a repository's name", "node", "255", "embedded/registry.TestLongNamesAreRefused"},
	{"the disk of the registry", "who may push", "registry.min_free stays", "embedded/registry.TestFullDisk"},

	// The mirror and the exchange of pieces.
	{"embedded/mirror/cache.Cache.entries", "Docker", "mirror.max_size", "embedded/mirror.TestEviction"},
	{"embedded/mirror/cache.Cache.recent", "Docker", "as entries", "embedded/mirror.TestEviction"},
	{
		"embedded/mirror/cache.Cache.ranks", "manager", "what pinned images name, of what is here",
		"embedded/mirror.TestPins",
	},
	{
		"embedded/mirror.Mirror.downloads", "Docker", "one for each blob under way",
		"embedded/mirror.TestOneDownloadForAll",
	},
	{"media type of a manifest", "node", "what its content says", "embedded/mirror.TestStandIn_HeadersAreNotBelieved"},
	{
		"embedded/mirror/exchange/wire.answering.asks", "node", "256 questions, over all its connections",
		"embedded/mirror/exchange/wire.TestServeFrames_ManyConnections",
	},
	{
		"embedded/mirror/exchange/wire.askers.nodes", "node", "those who ask now",
		"embedded/mirror/exchange/wire.TestServeFrames_Nonsense",
	},
	{
		"embedded/mirror/exchange.tracker.blobs", "node", "256 blobs that are here, 2000 nodes each",
		"embedded/mirror/exchange.TestExchange_MadeUpBlobs",
	},
	{
		"embedded/mirror/exchange.tables.known", "node", "256 blobs that are here",
		"embedded/mirror/exchange.TestTables_FewAtATime",
	},
	{"blobs that are read to be cut", "node", "2 at a time", "embedded/mirror/exchange.TestTables_FewAtATime"},
	{
		"embedded/mirror/exchange.Exchange.given", "node", "256 blobs that are here",
		"embedded/mirror/exchange.TestTables_FewAtATime",
	},
	{
		"embedded/mirror/exchange.Exchange.fetches", "Docker", "one for each blob under way",
		"embedded/mirror.TestOneDownloadForAll",
	},
	{"embedded/mirror/exchange.fetch.peers", "node", "12", "embedded/mirror/exchange.TestFetch_MadeUpNodes"},
	{
		"embedded/mirror/exchange.fetch.known", "node", "200, and those that were peers",
		"embedded/mirror/exchange.TestFetch_MadeUpNodes",
	},
	{
		"embedded/mirror/exchange.fetch.theirs", "node", "nodes that have answered during a fetch",
		"embedded/mirror/exchange.TestFetch_MadeUpNodes",
	},
	{"embedded/mirror/exchange.fetch.flights", "node", "4 pieces under way", "embedded/mirror/exchange.TestModel"},
	{
		"embedded/mirror/exchange.peerUse.nodes", "node", "peers of fetches under way",
		"embedded/mirror/exchange.TestPeerUse",
	},
	{
		"embedded/mirror/exchange/wire.link.streams", "node", "questions that this node has under way",
		"embedded/mirror/exchange/wire.TestLink_Leave",
	},

	// Gossip.
	{
		"embedded/gossip.roster.entries", "node", "4096 members, and 4096 that are gone, for a day",
		"embedded/gossip.TestRoster_MadeUpMembers",
	},
	{"embedded/gossip.roster.forgotten", "root", "4096", "embedded/gossip.TestRoster_ForgetsBoundedly"},
	{
		"addresses that gossip sends to", "node", "those where managers know nodes",
		"embedded/gossip.TestKnown_NothingGoesElsewhere",
	},

	// Copies of the queue on other managers.
	{
		"appliance/cluster/home/standby.Home.peers", "manager", "two, those that have had the state longest",
		"appliance/cluster/home/standby.TestCopies",
	},
	{
		"appliance/cluster/home/standby.peer.has", "spider", "10,000 files of the queue's journal",
		"appliance/cluster/home/standby.TestKeep_Refused",
	},
	{
		"appliance/cluster/home/standby.parcel.Small", "manager", "4 names, 8 MiB with the names of files",
		"appliance/cluster/home/standby.TestKeep_Refused",
	},
	{
		"appliance/cluster/home/standby.Keeper.small", "manager", "as parcel.Small",
		"appliance/cluster/home/standby.TestKeep_Refused",
	},
	{
		"appliance/cluster/home/standby.lease.asked", "manager", "one for each manager that has the state",
		"appliance/cluster/home/standby.TestLease",
	},
	{
		"appliance/cluster/home/standby.lease.busy", "manager", "as asked", "appliance/cluster/home/standby.TestLease",
	},
	{
		"copies of the queue that a manager keeps", "manager", "one, and the next, while the disk has 1 GiB free",
		"appliance/cluster/home/standby.TestKeep_Refused",
	},

	// The queue, of a spider, which has its password.
	{
		"embedded/queue/admission.Strangers.list", "stranger", "1000, the oldest gives way",
		"embedded/queue.TestStrangers_TheOldestGoes",
	},
	{
		"embedded/queue/admission.Limiter.failed", "stranger", "4096 addresses",
		"embedded/queue/admission.TestLimiter_TableIsBounded",
	},
	{
		"embedded/queue.core.sessions", "spider", "10,000 clients, fewer with little memory",
		"embedded/queue.TestBounds_TooManyClients",
	},
	{
		"embedded/queue/admission.Memory.clients", "spider", "one for each client",
		"embedded/queue.TestBounds_TooManyClients",
	},
	{
		"embedded/queue.core.waiters", "spider",
		"a quarter of queue.max_memory for all clients, who holds most is cut off", "embedded/queue.TestBounds_Clients",
	},
	{"embedded/queue.core.watchers", "spider", "as waiters", "embedded/queue.TestBounds_Clients"},
	{"embedded/queue.session.channels", "spider", "as waiters", "embedded/queue.TestBounds_Clients"},
	{"embedded/queue.session.patterns", "spider", "as waiters", "embedded/queue.TestBounds_Clients"},
	{"embedded/queue.hub.channels", "spider", "as waiters", "embedded/queue.TestBounds_Clients"},
	{"embedded/queue.hub.patterns", "spider", "as waiters", "embedded/queue.TestBounds_Clients"},
	{"outages of the queue that are known", "spider", "the last 16", "appliance/queueproc.TestState_Outages"},
	{
		"embedded/queue/engine/flow.Table.keys", "spider", "1000 keys of 1 KiB, the one asked for longest ago goes",
		"embedded/queue/engine/flow.TestTable_Full",
	},
	{
		"embedded/queue/front.Server.commands", "root", "those that the front does not merely pass on", "",
	},
	{
		"embedded/queue/keeper.Keeper.holders", "spider", "containers of this node that have popped and run",
		"embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.Keeper.alive", "spider", "one for each client",
		"embedded/queue/keeper.TestForgets",
	},
	{
		"appliance/node/queue.upNodes.names", "root", "the nodes that were let into the swarm", "",
	},
	{
		"embedded/queue/keeper.holder.holds", "spider", "one for each database of the engine, which has 16",
		"embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.holder.backs", "spider", "the connections of what it holds, in each of 16 databases",
		"embedded/queue/keeper.TestForgotten_Again",
	},
	{
		"embedded/queue/keeper.Keeper.missing", "root", "nodes that are down and held items",
		"embedded/queue/keeper.TestUp",
	},
	{
		"embedded/queue/keeper.bells.waiting", "spider", "100 keys for each client",
		"embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.Keeper.engines", "spider", "one for each database of the engine, which has 16",
		"embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.Keeper.held", "spider", "as engines", "embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.heldAt.keys", "spider", "what lies in the engine's lists of what is held",
		"embedded/queue/engine.TestLeases_FullMemory",
	},
	{
		"embedded/queue/keeper.holder.epochs", "spider", "as engines", "embedded/queue/keeper.TestForgets",
	},
	{
		"embedded/queue/keeper.holder.stale", "spider", "replies lost within the last seconds",
		"embedded/queue/keeper.TestCrashes",
	},
	{
		"buffers of clients of a Redis of one's own", "spider",
		"a quarter of queue.max_memory for large ones, small ones beyond, two a client",
		"embedded/queue/front.TestLimits_Buffers",
	},
	{
		"requests that the front reads whole", "spider", "a quarter of queue.max_memory, who holds most is cut off",
		"embedded/queue/front.TestLimits_RequestsReadWhole",
	},
	{
		"what is told of items that consumers hold", "spider", "64 MiB of the engine's lists of them",
		"appliance/queueproc/leases.TestLeases_TooMuch",
	},
	{"the queue's data", "spider", "three quarters of queue.max_memory", "embedded/queue.TestBounds_Full"},
	{
		"what one command of the queue sets aside", "spider", "what is left of queue.max_memory",
		"embedded/queue.TestBounds_Commands",
	},

	// What only root can make grow, or what one call makes.
	{"appliance/cluster/state.Options.Files", "root", "as many as the program names", ""},
	{"appliance/cluster/state.Options.Dirs", "root", "as many as the program names", ""},
	{"appliance/agent.Peers.own", "root", "one for each call that this node answers", ""},
	{"appliance/controller/imagegc.seen.keep", "root", "for one round; images of the services' histories", ""},
	{"appliance/controller/imagegc.seen.gone", "root", "for one round; services with histories", ""},
	{"appliance/controller/imagegc.outdated.services", "root", "for one round; services with histories", ""},
	{
		"appliance/controller/runs.keeper.failed", "spider",
		"tasks of runs that have a service, 5 of each slot and leader",
		"appliance/controller/runs.TestKeeper_Attempts",
	},
	{
		"appliance/controller/scaling.Controller.policies", "root", "services that follow a queue",
		"appliance/controller/scaling.TestController_Forgets",
	},
	{
		"appliance/controller/scaling.Controller.left", "root", "replicas that were to be ended in the last round",
		"appliance/controller/scaling.TestController",
	},
	{
		"appliance/controller/scaling.world.addrs", "root", "nodes, in one round",
		"appliance/controller/scaling.TestController",
	},
	{
		"appliance/controller/alerts.Controller.noted", "root",
		"messages whose claim is its own: one of each channel, of which there are 10", "",
	},
	{"appliance/control/alerts.look.ended", "root", "for one look: the runs of a day that are recorded", ""},
	{"appliance/controller/schedules.keeper.times", "root", "1000 expressions, then they are read each time", ""},
	{"appliance/controller/services.Controller.logged", "root", "services of the config file", ""},
	{"appliance/controller/services.Controller.notes", "root", "services of the config file", ""},
	{"appliance/controller/services.Controller.fresh", "root", "services of the config file", ""},
	{"appliance/controller/services.removals.list", "root", "services of the config file", ""},
	{"appliance/controller/services.seen.removed", "root", "services of the config file", ""},
	{"appliance/controller/services.force.Applied", "root", "the managers; those that are gone are dropped", ""},
	{"appliance/cluster/backup.homeFiles.Files", "root", "the config file and those that it names, 4 MiB each", ""},
	{"appliance/control/problems.Seen.Why", "root", "3 tasks, for one status", ""},
	{"appliance/controller/services.jobs.byService", "root", "services of the config file", ""},
	{"embedded/registry/access.Accounts.byName", "root", "crawlbox registry login", ""},
	{"embedded/registry/collect.inventory.links", "root", "for one collection; what the registry holds", ""},
	{"embedded/registry/collect.inventory.blobs", "root", "for one collection; what the registry holds", ""},
	{"embedded/registry/collect.inventory.revisions", "root", "for one collection; what the registry holds", ""},
	{"embedded/registry/collect.marks.needed", "root", "for one collection; what the registry holds", ""},
	{"embedded/registry.pushes.removed", "root", "crawlbox images rm, until the next collection", ""},
	{
		"embedded/mirror.pins.images", "manager", "images of the last good versions of services",
		"embedded/mirror.TestPins",
	},
}

// TestEverythingThatGrows: the list is whole, and each bound has a test.
func TestEverythingThatGrows(t *testing.T) {
	t.Parallel()
	fields, tests := map[string]bool{}, map[string]bool{}
	for _, dir := range serving {
		eachFile(t, func(path string) {
			if below(path, dir) {
				growable(t, path, fields)
			}
		})
	}
	eachTest(t, tests)
	listed := map[string]bool{}
	for _, g := range everything {
		listed[g.what] = true
		isField := strings.Count(g.what, ".") == 2 && !strings.Contains(g.what, " ")
		if _, ok := fields[g.what]; isField && !ok {
			t.Errorf("%s is not there any more: take it off the list", g.what)
		}
		if g.who == "" || g.bound == "" || g.test == "" && g.who != "root" {
			t.Errorf("%s: say who, the bound, and the test that shows it", g.what)
		}
		if g.test != "" && !tests[g.test] {
			t.Errorf("%s: there is no test %s", g.what, g.test)
		}
	}
	for field, must := range fields {
		if must && !listed[field] {
			t.Errorf("%s is a map, a list or a cache: say in the list who can make it grow, and what bounds it", field)
		}
	}
}

// growable collects the fields of a file by their names; those that must be listed are
// true.
func growable(t *testing.T, path string, fields map[string]bool) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fieldsOf, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range fieldsOf.Fields.List {
			var text bytes.Buffer
			if err := printer.Fprint(&text, set, f.Type); err != nil {
				t.Fatal(err)
			}
			for _, name := range f.Names {
				fields[filepath.ToSlash(filepath.Dir(path))+"."+spec.Name.Name+"."+name.Name] = collects(text.String())
			}
		}
		return true
	})
}

func collects(typ string) bool {
	if strings.HasPrefix(typ, "func") {
		return false
	}
	for _, kind := range []string{"map[", "list.List", "sync.Map", "lru."} {
		if strings.Contains(typ, kind) {
			return true
		}
	}
	return false
}

// eachTest collects the tests of the tree, as PACKAGE.TEST.
func eachTest(t *testing.T, tests map[string]bool) {
	t.Helper()
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "*/*/*/*/*_test.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
					tests[filepath.ToSlash(filepath.Dir(path))+"."+f.Name.Name] = true
				}
			}
		}
	}
}
