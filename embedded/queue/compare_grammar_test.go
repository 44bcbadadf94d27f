package queue

import "strconv"

func (g generator) key() string {
	return g.pick("s", "n", "f", "l", "l2", "st", "ints", "h", "z", "z2", "k")
}

// words make the arguments of the grammar.
var words = map[string]func(g generator) string{
	"key":   generator.key,
	"place": func(g generator) string { return g.pick("k1", "k2", "k3") },
	"str":   func(g generator) string { return g.pick("s", "n", "f", "b", "n", g.key()) },
	"list":  func(g generator) string { return g.pick("l", "l2", "l", g.key()) },
	"set":   func(g generator) string { return g.pick("st", "ints", "st", g.key()) },
	"hash":  func(g generator) string { return g.pick("h", "h", "h2", g.key()) },
	"zset":  func(g generator) string { return g.pick("z", "z2", "z", g.key()) },
	"val": func(g generator) string {
		return g.pick("a", "b", "c", "", "x y", "\x00\xff\r\n", strconv.Itoa(g.IntN(40)), strconv.Itoa(g.IntN(40)))
	},
	"int": func(g generator) string {
		return g.pick("0", "1", "-1", "2", "7", "-20", "9223372036854775807", "01", "+1")
	},
	"idx": func(g generator) string { return strconv.Itoa(g.IntN(30) - 15) },
	"count": func(g generator) string {
		return g.pick("0", "1", "2", "3", "5", "20", "-1", "-3", "9223372036854775807")
	},
	"some": func(g generator) string { return g.pick("1", "2", "3", "10", "0") },
	"float": func(g generator) string {
		return g.pick("0.5", "1.5", "-2", "0.1", "0.2", "3.0e3", "1e-5", "inf", "nan", "1e18", "-0", "100")
	},
	"score": func(g generator) string {
		return g.pick("0", "1", "2", "3", "0.5", "-1.25", "10", "1e6", "inf", "-inf", strconv.Itoa(g.IntN(20)))
	},
	"bound": func(g generator) string {
		return g.pick("-inf", "+inf", "(1", "(5", "0", "2.5", "10", "nan", strconv.Itoa(g.IntN(20)))
	},
	"lex":    func(g generator) string { return g.pick("-", "+", "[a", "(a", "[1", "(3", "[b", "[", "(", "b") },
	"ttl":    func(g generator) string { return strconv.Itoa(100_000 + 1000*g.IntN(1_000_000)) },
	"ttlms":  func(g generator) string { return strconv.Itoa(100_000_000 + 1_000_000*g.IntN(1_000_000)) },
	"at":     func(g generator) string { return strconv.Itoa(33_177_117_420 + g.IntN(1_000_000)) },
	"atms":   func(g generator) string { return strconv.Itoa(33_177_117_420_000 + g.IntN(1_000_000)) },
	"glob":   func(g generator) string { return g.pick("*", "?", "[a-c]*", "[^a]*", "1*", "\\*", "*[", "l*") },
	"offset": func(g generator) string { return strconv.Itoa(g.IntN(24)) },
	"bit":    func(g generator) string { return strconv.Itoa(g.IntN(200)) },
	"wait":   func(g generator) string { return g.pick("0.001", "0.002", "-1", "x") },
}

const (
	setTime  = "?((EX <ttl>|PX <ttl>|EXAT <at>|PXAT <atms>|KEEPTTL))"
	timeRule = "?((NX|XX|GT|LT))"
	zStore   = "?(WEIGHTS <float> <float>) ?(AGGREGATE (SUM|MIN|MAX))"
	side     = "(LEFT|RIGHT)"
	scanRule = "0 ?(MATCH <glob>) ?(COUNT 1000)"
	// Members are in an order of their own only where all have one score.
	lexKey  = "(lex|lex|lex|missing)"
	zBounds = "(<zset> <idx> <idx> ?(REV)|<zset> <bound> <bound> BYSCORE ?(REV) ?(LIMIT <idx> <idx>)|" +
		lexKey + " <lex> <lex> BYLEX ?(REV) ?(LIMIT <idx> <idx>))"
)

// grammar has a rule for each command on data.
var grammar = map[string]string{
	"DEL":         "<key> ?(<key>)",
	"UNLINK":      "<key> ?(<key>)",
	"EXISTS":      "<key> *(<key>)",
	"TYPE":        "<key>",
	"TOUCH":       "<key> *(<key>)",
	"KEYS":        "<glob>",
	"SCAN":        scanRule + " ?(TYPE (string|list|set|hash|zset))",
	"RANDOMKEY":   "",
	"RENAME":      "<key> <key>",
	"RENAMENX":    "<key> <key>",
	"DBSIZE":      "",
	"COPY":        "<key> <key> ?(REPLACE)",
	"EXPIRE":      "<key> <ttl> " + timeRule,
	"PEXPIRE":     "<key> <ttlms> " + timeRule,
	"EXPIREAT":    "<key> <at> " + timeRule,
	"PEXPIREAT":   "<key> <atms> " + timeRule,
	"EXPIRETIME":  "<key>",
	"PEXPIRETIME": "<key>",
	"TTL":         "<key>",
	"PTTL":        "<key>",
	"PERSIST":     "<key>",

	"APPEND":      "<str> <val>",
	"DECR":        "<str>",
	"DECRBY":      "<str> <int>",
	"GET":         "<str>",
	"GETDEL":      "<str>",
	"GETEX":       "<str> ?((EX <ttl>|PX <ttl>|EXAT <at>|PXAT <atms>|PERSIST))",
	"GETRANGE":    "<str> <idx> <idx>",
	"SUBSTR":      "<str> <idx> <idx>",
	"GETSET":      "<str> <val>",
	"INCR":        "<str>",
	"INCRBY":      "<str> <int>",
	"INCRBYFLOAT": "<str> <float>",
	"MGET":        "<str> *(<key>)",
	"MSET":        "<key> <val> *(<str> <val>)",
	"MSETNX":      "<key> <val> *(<str> <val>)",
	"PSETEX":      "<str> <ttlms> <val>",
	"SET":         "<str> <val> " + setTime + " ?((NX|XX)) ?(GET)",
	"SETEX":       "<str> <ttl> <val>",
	"SETNX":       "<str> <val>",
	"SETRANGE":    "<str> <offset> <val>",
	"STRLEN":      "<str>",
	"SETBIT":      "<str> <bit> (0|1)",
	"GETBIT":      "<str> <bit>",
	"BITCOUNT":    "<str> ?(<idx> <idx> ?((BIT|BYTE)))",
	"BITPOS":      "<str> (0|1) ?(<idx> ?(<idx> ?((BIT|BYTE))))",
	"BITOP":       "(AND|OR|XOR|NOT) <str> <str> *(<str>)",

	"LPUSH":      "<list> <val> *(<val>)",
	"RPUSH":      "<list> <val> *(<val>)",
	"LPUSHX":     "<list> <val> *(<val>)",
	"RPUSHX":     "<list> <val> *(<val>)",
	"LPOP":       "<list> ?(<count>)",
	"RPOP":       "<list> ?(<count>)",
	"LLEN":       "<list>",
	"LINDEX":     "<list> <idx>",
	"LSET":       "<list> <idx> <val>",
	"LRANGE":     "<list> <idx> <idx>",
	"LTRIM":      "<list> <idx> <idx>",
	"LREM":       "<list> <idx> <val>",
	"LINSERT":    "<list> (BEFORE|AFTER) <val> <val>",
	"LPOS":       "<list> <val> ?(RANK <idx>) ?(COUNT <count>) ?(MAXLEN <count>)",
	"LMOVE":      "<list> <list> " + side + " " + side,
	"RPOPLPUSH":  "<list> <list>",
	"LMPOP":      "#(<list>) " + side + " ?(COUNT <some>)",
	"BLPOP":      "<list> *(<list>) <wait>",
	"BRPOP":      "<list> *(<list>) <wait>",
	"BLMOVE":     "<list> <list> " + side + " " + side + " <wait>",
	"BRPOPLPUSH": "<list> <list> <wait>",
	"BLMPOP":     "<wait> #(<list>) " + side + " ?(COUNT <some>)",

	"SADD":        "<set> <val> *(<val>)",
	"SREM":        "<set> <val> *(<val>)",
	"SCARD":       "<set>",
	"SISMEMBER":   "<set> <val>",
	"SMISMEMBER":  "<set> <val> *(<val>)",
	"SMEMBERS":    "<set>",
	"SPOP":        "<set> ?(<count>)",
	"SRANDMEMBER": "<set> ?(<count>)",
	"SMOVE":       "<set> <set> <val>",
	"SINTER":      "<set> *(<set>)",
	"SUNION":      "<set> *(<set>)",
	"SDIFF":       "<set> *(<set>)",
	"SINTERCARD":  "#(<set>) ?(LIMIT <some>)",
	"SINTERSTORE": "<set> <set> *(<set>)",
	"SUNIONSTORE": "<set> <set> *(<set>)",
	"SDIFFSTORE":  "<set> <set> *(<set>)",
	"SSCAN":       "<set> " + scanRule,

	"HSET":         "<hash> <val> <val> *(<val> <val>)",
	"HMSET":        "<hash> <val> <val> *(<val> <val>)",
	"HSETNX":       "<hash> <val> <val>",
	"HGET":         "<hash> <val>",
	"HMGET":        "<hash> <val> *(<val>)",
	"HGETALL":      "<hash>",
	"HKEYS":        "<hash>",
	"HVALS":        "<hash>",
	"HLEN":         "<hash>",
	"HDEL":         "<hash> <val> *(<val>)",
	"HEXISTS":      "<hash> <val>",
	"HSTRLEN":      "<hash> <val>",
	"HINCRBY":      "<hash> <val> <int>",
	"HINCRBYFLOAT": "<hash> <val> <float>",
	"HRANDFIELD":   "<hash> ?(<count> ?(WITHVALUES))",
	"HSCAN":        "<hash> " + scanRule,

	"ZADD": "(<zset> ?((NX|XX)) ?((GT|LT)) ?(CH) (INCR <score> <val>|<score> <val> *(<score> <val>))|lex " +
		"7 <val> *(7 <val>))",
	"ZINCRBY":          "<zset> <float> <val>",
	"ZCARD":            "<zset>",
	"ZCOUNT":           "<zset> <bound> <bound>",
	"ZLEXCOUNT":        lexKey + " <lex> <lex>",
	"ZSCORE":           "<zset> <val>",
	"ZMSCORE":          "<zset> <val> *(<val>)",
	"ZRANK":            "<zset> <val>",
	"ZREVRANK":         "<zset> <val>",
	"ZRANGE":           zBounds + " ?(WITHSCORES)",
	"ZRANGESTORE":      "<zset> " + zBounds,
	"ZRANGEBYSCORE":    "<zset> <bound> <bound> ?(WITHSCORES) ?(LIMIT <idx> <idx>)",
	"ZREVRANGEBYSCORE": "<zset> <bound> <bound> ?(WITHSCORES) ?(LIMIT <idx> <idx>)",
	"ZRANGEBYLEX":      lexKey + " <lex> <lex> ?(LIMIT <idx> <idx>)",
	"ZREVRANGEBYLEX":   lexKey + " <lex> <lex> ?(LIMIT <idx> <idx>)",
	"ZREVRANGE":        "<zset> <idx> <idx> ?(WITHSCORES)",
	"ZREM":             "<zset> <val> *(<val>)",
	"ZREMRANGEBYRANK":  "<zset> <idx> <idx>",
	"ZREMRANGEBYSCORE": "<zset> <bound> <bound>",
	"ZREMRANGEBYLEX":   lexKey + " <lex> <lex>",
	"ZPOPMIN":          "<zset> ?(<count>)",
	"ZPOPMAX":          "<zset> ?(<count>)",
	"ZMPOP":            "#(<zset>) (MIN|MAX) ?(COUNT <some>)",
	"BZPOPMIN":         "<zset> *(<zset>) <wait>",
	"BZPOPMAX":         "<zset> *(<zset>) <wait>",
	"BZMPOP":           "<wait> #(<zset>) (MIN|MAX) ?(COUNT <some>)",
	"ZRANDMEMBER":      "<zset> ?(<count> ?(WITHSCORES))",
	"ZUNION":           "#((<zset>|<set>)) " + zStore + " ?(WITHSCORES)",
	"ZINTER":           "#((<zset>|<set>)) " + zStore + " ?(WITHSCORES)",
	"ZDIFF":            "#((<zset>|<set>)) ?(WITHSCORES)",
	"ZINTERCARD":       "#((<zset>|<set>)) ?(LIMIT <some>)",
	"ZUNIONSTORE":      "<zset> #((<zset>|<set>)) " + zStore,
	"ZINTERSTORE":      "<zset> #((<zset>|<set>)) " + zStore,
	"ZDIFFSTORE":       "<zset> #((<zset>|<set>))",
	"ZSCAN":            "<zset> " + scanRule,
}
