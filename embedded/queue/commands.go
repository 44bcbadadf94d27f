package queue

import (
	"iter"
	"strings"
)

// command is what the queue knows about a command of Redis.
type command struct {
	arity     int // with the name; negative: at least
	keys      keyRule
	write     bool   // may change data
	deadlines bool   // may set or move the deadline of its keys
	quiet     string // replies, space separated, that say nothing changed
	// run does the command. nil: miniredis does, and a write is its own effect.
	run func(*store, call) string
	// block makes the request wait that the command's blocking form stands for.
	block func(*store, call) (request, string)
}

// keyRule says which arguments may be keys. Naming too many does no harm.
type keyRule int

const (
	firstKey  keyRule = iota // the first argument
	noKeys                   // none
	allKeys                  // every argument
	everyPair                // the first of every two
	twoKeys                  // the first two
)

func (c *command) arityOK(n int) bool {
	if c.arity < 0 {
		return n >= -c.arity
	}
	return n == c.arity
}

func (c *command) keysOf(args []string) iter.Seq[string] {
	from, to, step := 1, len(args), 1
	switch c.keys {
	case firstKey:
		to = min(2, to)
	case twoKeys:
		to = min(3, to)
	case everyPair:
		step = 2
	case noKeys:
		to = 0
	}
	return func(yield func(string) bool) {
		for i := from; i < to; i += step {
			if !yield(args[i]) {
				return
			}
		}
	}
}

// unchanged says that the reply of a write means it changed nothing, so that
// clients that poll an empty list do not fill the journal.
func (c *command) unchanged(reply string) bool {
	if c.quiet == "" {
		return false
	}
	if isNull(reply) {
		return true
	}
	return strings.HasPrefix(reply, ":") && strings.Contains(c.quiet, strings.TrimSpace(reply[1:]))
}

const (
	nothing = "0"    // 0 or null: no change
	noPivot = "0 -1" // LINSERT
	null    = "null" // only null: no change
)

// commands is the table of all commands that work on data. What is not in it
// is refused.
var commands map[string]*command

func init() { // handlers refer back to the table
	commands = map[string]*command{}
	for _, group := range []map[string]*command{
		plainCommands, keyCommands, stringCommands, listCommands, setCommands, hashCommands,
		sortedSetCommands, streamCommands, geoCommands, scriptCommands,
	} {
		for name, cmd := range group {
			commands[name] = cmd
		}
	}
}

var plainCommands = map[string]*command{
	"ECHO": {arity: 2, keys: noKeys},
	"PING": {arity: -1, keys: noKeys},
	"TIME": {arity: 1, keys: noKeys, run: (*store).time},
}

var keyCommands = map[string]*command{
	"DBSIZE":      {arity: 1, keys: noKeys},
	"DEL":         {arity: -2, keys: allKeys, write: true, quiet: nothing},
	"EXISTS":      {arity: -2, keys: allKeys},
	"EXPIRE":      {arity: -3, write: true, deadlines: true, run: expireIn(1000)},
	"EXPIREAT":    {arity: -3, write: true, deadlines: true, run: expireAt(1000)},
	"EXPIRETIME":  {arity: 2},
	"FLUSHALL":    {arity: -1, keys: noKeys, write: true, run: (*store).flushAll},
	"FLUSHDB":     {arity: -1, keys: noKeys, write: true, run: (*store).flushDB},
	"KEYS":        {arity: 2, keys: noKeys},
	"PERSIST":     {arity: 2, write: true, deadlines: true, quiet: nothing},
	"PEXPIRE":     {arity: -3, write: true, deadlines: true, run: expireIn(1)},
	"PEXPIREAT":   {arity: -3, write: true, deadlines: true, run: expireAt(1)},
	"PEXPIRETIME": {arity: 2},
	"PTTL":        {arity: 2, run: timeLeft(1)},
	"RANDOMKEY":   {arity: 1, keys: noKeys},
	"RENAME":      {arity: 3, keys: twoKeys, write: true, deadlines: true},
	"RENAMENX":    {arity: 3, keys: twoKeys, write: true, deadlines: true, quiet: nothing},
	"SCAN":        {arity: -2, keys: noKeys},
	"TOUCH":       {arity: -2, keys: allKeys},
	"TTL":         {arity: 2, run: timeLeft(1000)},
	"TYPE":        {arity: 2},
	"UNLINK":      {arity: -2, keys: allKeys, write: true, quiet: nothing},
}

var stringCommands = map[string]*command{
	"APPEND":      {arity: 3, write: true},
	"BITCOUNT":    {arity: -2},
	"BITOP":       {arity: -4, keys: allKeys, write: true, run: (*store).bitOp},
	"BITPOS":      {arity: -3},
	"DECR":        {arity: 2, write: true},
	"DECRBY":      {arity: 3, write: true},
	"GET":         {arity: 2},
	"GETBIT":      {arity: 3},
	"GETDEL":      {arity: 2, write: true, quiet: null},
	"GETEX":       {arity: -2, write: true, deadlines: true, run: (*store).getEx},
	"GETRANGE":    {arity: 4},
	"GETSET":      {arity: 3, write: true},
	"INCR":        {arity: 2, write: true},
	"INCRBY":      {arity: 3, write: true},
	"INCRBYFLOAT": {arity: 3, write: true},
	"MGET":        {arity: -2, keys: allKeys},
	"MSET":        {arity: -3, keys: everyPair, write: true},
	"MSETNX":      {arity: -3, keys: everyPair, write: true, quiet: nothing},
	"PSETEX":      {arity: 4, write: true, deadlines: true, run: setEx(1)},
	"SET":         {arity: -3, write: true, deadlines: true, run: (*store).set},
	"SETBIT":      {arity: 4, write: true},
	"SETEX":       {arity: 4, write: true, deadlines: true, run: setEx(1000)},
	"SETNX":       {arity: 3, write: true, quiet: nothing},
	"SETRANGE":    {arity: 4, write: true},
	"STRLEN":      {arity: 2},
}

var listCommands = map[string]*command{
	"BLMOVE":     {arity: 6, keys: twoKeys, write: true, block: blockMove},
	"BLMPOP":     {arity: -5, keys: allKeys, write: true, block: blockTimeoutFirst("LMPOP")},
	"BLPOP":      {arity: -3, keys: allKeys, write: true, block: blockPop("LPOP")},
	"BRPOP":      {arity: -3, keys: allKeys, write: true, block: blockPop("RPOP")},
	"BRPOPLPUSH": {arity: 4, keys: twoKeys, write: true, block: blockMove},
	"LINDEX":     {arity: 3, run: (*store).listIndex},
	"LINSERT":    {arity: 5, write: true, quiet: noPivot},
	"LLEN":       {arity: 2, run: (*store).listLen},
	"LMOVE":      {arity: 5, keys: twoKeys, write: true, run: (*store).listMove},
	"LMPOP":      {arity: -4, keys: allKeys, write: true, run: (*store).listMultiPop},
	"LPOP":       {arity: -2, write: true, run: listPop(true)},
	"LPOS":       {arity: -3},
	"LPUSH":      {arity: -3, write: true, run: listPush(true, false)},
	"LPUSHX":     {arity: -3, write: true, run: listPush(true, true)},
	"LRANGE":     {arity: 4, run: (*store).listRange},
	"LREM":       {arity: 4, write: true, quiet: nothing},
	"LSET":       {arity: 4, write: true},
	"LTRIM":      {arity: 4, write: true},
	"RPOP":       {arity: -2, write: true, run: listPop(false)},
	"RPOPLPUSH":  {arity: 3, keys: twoKeys, write: true, run: (*store).listMove},
	"RPUSH":      {arity: -3, write: true, run: listPush(false, false)},
	"RPUSHX":     {arity: -3, write: true, run: listPush(false, true)},
}

var setCommands = map[string]*command{
	"SADD":        {arity: -3, write: true, quiet: nothing},
	"SCARD":       {arity: 2},
	"SDIFF":       {arity: -2, keys: allKeys},
	"SDIFFSTORE":  {arity: -3, keys: allKeys, write: true, run: storeMembers("SDIFF")},
	"SINTER":      {arity: -2, keys: allKeys},
	"SINTERCARD":  {arity: -3, keys: allKeys},
	"SINTERSTORE": {arity: -3, keys: allKeys, write: true, run: storeMembers("SINTER")},
	"SISMEMBER":   {arity: 3},
	"SMEMBERS":    {arity: 2},
	"SMISMEMBER":  {arity: -3},
	"SMOVE":       {arity: 4, keys: twoKeys, write: true, quiet: nothing},
	"SPOP":        {arity: -2, write: true, run: (*store).setPop},
	"SRANDMEMBER": {arity: -2},
	"SREM":        {arity: -3, write: true, quiet: nothing},
	"SSCAN":       {arity: -3},
	"SUNION":      {arity: -2, keys: allKeys},
	"SUNIONSTORE": {arity: -3, keys: allKeys, write: true, run: storeMembers("SUNION")},
}

var hashCommands = map[string]*command{
	"HDEL":         {arity: -3, write: true, quiet: nothing},
	"HEXISTS":      {arity: 3},
	"HGET":         {arity: 3},
	"HGETALL":      {arity: 2},
	"HINCRBY":      {arity: 4, write: true},
	"HINCRBYFLOAT": {arity: 4, write: true},
	"HKEYS":        {arity: 2},
	"HLEN":         {arity: 2},
	"HMGET":        {arity: -3},
	"HMSET":        {arity: -4, write: true},
	"HRANDFIELD":   {arity: -2},
	"HSCAN":        {arity: -3},
	"HSET":         {arity: -4, write: true},
	"HSETNX":       {arity: 4, write: true, quiet: nothing},
	"HSTRLEN":      {arity: 3},
	"HVALS":        {arity: 2},
}

var sortedSetCommands = map[string]*command{
	"BZMPOP":           {arity: -5, keys: allKeys, write: true, block: blockTimeoutFirst("ZMPOP")},
	"BZPOPMAX":         {arity: -3, keys: allKeys, write: true, block: blockPop("ZPOPMAX")},
	"BZPOPMIN":         {arity: -3, keys: allKeys, write: true, block: blockPop("ZPOPMIN")},
	"ZADD":             {arity: -4, write: true},
	"ZCARD":            {arity: 2},
	"ZCOUNT":           {arity: 4},
	"ZINCRBY":          {arity: 4, write: true},
	"ZINTER":           {arity: -3, keys: allKeys},
	"ZINTERSTORE":      {arity: -4, keys: allKeys, write: true, run: storeScores("ZINTER")},
	"ZLEXCOUNT":        {arity: 4},
	"ZMPOP":            {arity: -4, keys: allKeys, write: true, quiet: null},
	"ZMSCORE":          {arity: -3},
	"ZPOPMAX":          {arity: -2, write: true, quiet: null},
	"ZPOPMIN":          {arity: -2, write: true, quiet: null},
	"ZRANDMEMBER":      {arity: -2},
	"ZRANGE":           {arity: -4},
	"ZRANGEBYLEX":      {arity: -4},
	"ZRANGEBYSCORE":    {arity: -4},
	"ZRANK":            {arity: -3},
	"ZREM":             {arity: -3, write: true, quiet: nothing},
	"ZREMRANGEBYLEX":   {arity: 4, write: true, quiet: nothing},
	"ZREMRANGEBYRANK":  {arity: 4, write: true, quiet: nothing},
	"ZREMRANGEBYSCORE": {arity: 4, write: true, quiet: nothing},
	"ZREVRANGE":        {arity: -4},
	"ZREVRANGEBYLEX":   {arity: -4},
	"ZREVRANGEBYSCORE": {arity: -4},
	"ZREVRANK":         {arity: -3},
	"ZSCAN":            {arity: -3},
	"ZSCORE":           {arity: 3},
	"ZUNION":           {arity: -3, keys: allKeys},
	"ZUNIONSTORE":      {arity: -4, keys: allKeys, write: true, run: storeScores("ZUNION")},
}

var streamCommands = map[string]*command{
	"XADD":      {arity: -5, write: true, run: (*store).streamAdd},
	"XDEL":      {arity: -3, write: true, quiet: nothing},
	"XINFO":     {arity: -2, keys: allKeys},
	"XLEN":      {arity: 2},
	"XRANGE":    {arity: -4},
	"XREAD":     {arity: -4, keys: allKeys, block: blockRead},
	"XREVRANGE": {arity: -4},
	"XTRIM":     {arity: -4, write: true, quiet: nothing},
}

var geoCommands = map[string]*command{
	"GEOADD":               {arity: -5, write: true},
	"GEODIST":              {arity: -4},
	"GEOPOS":               {arity: -2},
	"GEORADIUSBYMEMBER_RO": {arity: -5},
	"GEORADIUS_RO":         {arity: -6},
	"GEOSEARCH":            {arity: -7},
}

var scriptCommands = map[string]*command{
	"EVAL":       {arity: -3, keys: noKeys, write: true, run: (*store).script},
	"EVALSHA":    {arity: -3, keys: noKeys, write: true, run: (*store).script},
	"EVALSHA_RO": {arity: -3, keys: noKeys, run: (*store).script},
	"EVAL_RO":    {arity: -3, keys: noKeys, run: (*store).script},
	"SCRIPT":     {arity: -2, keys: noKeys},
}
