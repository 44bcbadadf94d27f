package valkey

// frontUser is who the fronts of all nodes log in as: root on a worker has what they have, and is not to reconfigure an
// engine, end it, have it follow another, or pass for its replica. It is on the primary alone: what a replica logs in
// with can be read there (CONFIG GET). Users are not replicated, and an engine that starts has none.
const frontUser = "crawlbox-front"

// frontRights are data, scripts and channels, and of what Valkey calls dangerous what programs use and a front passes
// on.
var frontRights = []any{
	"~*", "&*", "+@all", "-@admin", "-@dangerous", "-script|debug",
	"+flushall", "+flushdb", "+info", "+keys", "+lastsave", "+latency", "+monitor", "+restore", "+role", "+slowlog",
	"+sort", "+sort_ro", "+swapdb",
	"+acl|cat", "+acl|genpass", "+acl|help", "+acl|whoami",
	"+client|list", "+client|unblock",
	"+cluster|countkeysinslot", "+cluster|getkeysinslot", "+cluster|help", "+cluster|info", "+cluster|keyslot",
	"+cluster|links", "+cluster|myid", "+cluster|nodes", "+cluster|shards", "+cluster|slots",
	"+config|get", "+module|help", "+module|list",
}

// Front returns what fronts log in with: as the user "default" while the primary was not seen to know theirs, since the
// manager that leads is of a version before.
func (d Document) Front() (user, password string) {
	if !d.Fronts {
		return "", d.Password
	}
	return frontUser, d.sign("user " + frontUser)
}

// admitFronts returns what an engine is told, to let fronts log in.
func (d Document) admitFronts() []any {
	return append([]any{"ACL", "SETUSER", frontUser, "reset", "on", ">" + d.sign("user "+frontUser)}, frontRights...)
}
