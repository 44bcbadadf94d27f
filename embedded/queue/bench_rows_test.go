package queue

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

// request is a crawler's request as scrapy-redis keeps it.
func benchRequest(i int) string {
	return `{"url": "https://example.org/catalogue/page-` + strconv.Itoa(
		i) + `.html", "callback": "parse", "method": "GET", ` +
		`"headers": {"Referer": "https://example.org/catalogue/"}, "meta": {"depth": 3}, "priority": 0, "dont_filter": false}`
}

// fingerprint returns what a dupe filter keeps of a request.
func fingerprint(i int) string {
	sum := sha1.Sum(strconv.AppendInt(nil, int64(i), 10))
	return hex.EncodeToString(sum[:])
}

// scatter returns a number below n that looks random, the same for the same i.
func scatter(i, n int) int { return int(uint64(i) * 0x9E3779B97F4A7C15 >> 24 % uint64(n)) }

func number(i int) string { return strconv.Itoa(i) }

// fillMany makes one command of all elements.
func fillMany(args []string, element func(i int) []string) func([]byte, int, int) []byte {
	return func(b []byte, from, to int) []byte {
		request := append(make([]string, 0, 2+2*(to-from)), args...)
		for i := from; i < to; i++ {
			request = append(request, element(i)...)
		}
		return appendRequest(b, request...)
	}
}

// fillKeys makes a command of each element.
func fillKeys(element func(i int) []string) func([]byte, int, int) []byte {
	return func(b []byte, from, to int) []byte {
		for i := from; i < to; i++ {
			b = appendRequest(b, element(i)...)
		}
		return b
	}
}

// each makes one command an operation.
func each(args func(i, n int) []string) func([]byte, int, int) []byte {
	return func(b []byte, i, n int) []byte { return appendRequest(b, args(i, n)...) }
}

// inMulti makes a transaction of its commands an operation, in one write.
func inMulti(commands ...[]string) func([]byte, int, int) []byte {
	request := appendRequest(nil, "MULTI")
	for _, args := range commands {
		request = appendRequest(request, args...)
	}
	request = appendRequest(request, "EXEC")
	return func(b []byte, _, _ int) []byte { return append(b, request...) }
}

var (
	fillRequests = fillMany([]string{"ZADD", "k"},
		func(i int) []string { return []string{number(scatter(i, 100)), benchRequest(i)} })
	fillScores = fillMany([]string{"ZADD", "k"},
		func(i int) []string { return []string{number(scatter(i, 1<<30)), fingerprint(i)} })
	fillSet     = fillMany([]string{"SADD", "k"}, func(i int) []string { return []string{fingerprint(i)} })
	fillList    = fillMany([]string{"LPUSH", "k"}, func(i int) []string { return []string{benchRequest(i)} })
	fillHash    = fillMany([]string{"HSET", "k"}, func(i int) []string { return []string{fingerprint(i), number(i)} })
	fillStrings = fillKeys(func(i int) []string { return []string{"SET", "key:" + number(i), fingerprint(i)} })
	fillHashes  = fillKeys(func(i int) []string {
		return []string{"HSET", "h:" + number(i/10), "field" + number(i%10), number(i)}
	})
)

// loadRows lists the rows, as far as one number says it.
var loadRows = []loadRow{
	{name: "scrapy-zset-pop", clients: 8, depth: 1, replies: 4, share: 4, fill: fillRequests,
		op: inMulti([]string{"ZRANGE", "k", "0", "0"}, []string{"ZREMRANGEBYRANK", "k", "0", "0"})},
	{
		name:    "zadd",
		clients: 8,
		depth:   16,
		replies: 1,
		fill:    fillScores,
		op: each(func(i, n int) []string {
			return []string{"ZADD", "k", number(scatter(i, 1<<30)), fingerprint(n + i)}
		}),
	},
	{name: "zpopmin", clients: 8, depth: 16, replies: 1, share: 4, fill: fillScores,
		op: each(func(int, int) []string { return []string{"ZPOPMIN", "k"} })},
	{name: "zrank", clients: 8, depth: 16, replies: 1, fill: fillScores,
		op: each(func(i, n int) []string { return []string{"ZRANK", "k", fingerprint(scatter(i, n))} })},
	{name: "zrangebyscore-limit-10", clients: 8, depth: 16, replies: 1, fill: fillScores,
		op: each(func(i, _ int) []string {
			return []string{"ZRANGEBYSCORE", "k", number(scatter(i, 1<<30)), "+inf", "LIMIT", "0", "10"}
		})},
	{name: "spop", clients: 8, depth: 16, replies: 1, share: 4, fill: fillSet,
		op: each(func(int, int) []string { return []string{"SPOP", "k"} })},
	{name: "sadd-dupefilter", clients: 8, depth: 16, replies: 1, fill: fillSet,
		op: each(func(i, n int) []string { return []string{"SADD", "k", fingerprint(n/2 + i)} })},
	{name: "sismember", clients: 8, depth: 16, replies: 1, fill: fillSet,
		op: each(func(i, n int) []string { return []string{"SISMEMBER", "k", fingerprint(scatter(i, 2*n))} })},
	{name: "srandmember", clients: 8, depth: 16, replies: 1, fill: fillSet,
		op: each(func(int, int) []string { return []string{"SRANDMEMBER", "k"} })},
	{name: "lpush-rpop", clients: 8, depth: 1, replies: 2, fill: fillList,
		op: func(b []byte, i, _ int) []byte {
			return appendRequest(appendRequest(b, "LPUSH", "k", benchRequest(i)), "RPOP", "k")
		}},
	{name: "lrange-ltrim-100", clients: 1, depth: 1, replies: 4, share: 400, fill: fillList,
		op: inMulti([]string{"LRANGE", "k", "0", "99"}, []string{"LTRIM", "k", "100", "-1"})},
	{name: "lindex-middle", clients: 8, depth: 4, replies: 1, fill: fillList,
		op: each(func(i, n int) []string { return []string{"LINDEX", "k", number(n/2 + scatter(i, 100))} })},
	{name: "lrem", clients: 1, depth: 1, replies: 1, share: 100, fill: fillList,
		op: each(func(i, n int) []string { return []string{"LREM", "k", "1", benchRequest(scatter(i, n))} })},
	{name: "setbit-getbit-2^30", once: true, clients: 8, depth: 8, replies: 2,
		fill: func(b []byte, from, _ int) []byte { return appendRequest(b, "SETBIT", "k", number(1<<30-1-from), "1") },
		op: func(b []byte, i, _ int) []byte {
			b = appendRequest(b, "SETBIT", "k", number(scatter(i, 1<<30)), "1")
			return appendRequest(b, "GETBIT", "k", number(scatter(i+1, 1<<30)))
		}},
	{name: "scan-count-1000", fill: fillStrings, measure: scanRate("SCAN", "0", "COUNT", "1000")},
	{name: "sscan-count-1000", fill: fillSet, measure: scanRate("SSCAN", "k", "0", "COUNT", "1000")},
	{name: "zscan-count-1000", fill: fillScores, measure: scanRate("ZSCAN", "k", "0", "COUNT", "1000")},
	{name: "hscan-count-1000", fill: fillHash, measure: scanRate("HSCAN", "k", "0", "COUNT", "1000")},
	{name: "hset", clients: 8, depth: 16, replies: 1, fill: fillHashes,
		op: each(func(i, n int) []string {
			return []string{"HSET", "h:" + number(scatter(i, n/10)), "field" + number(i%10), number(i)}
		})},
	{name: "hget", clients: 8, depth: 16, replies: 1, fill: fillHashes,
		op: each(func(i, n int) []string {
			return []string{"HGET", "h:" + number(scatter(i, n/10)), "field" + number(i%10)}
		})},
	{name: "hgetall-10", clients: 8, depth: 16, replies: 1, fill: fillHashes,
		op: each(func(i, n int) []string { return []string{"HGETALL", "h:" + number(scatter(i, n/10))} })},
	{
		name:    "set-ex",
		clients: 8,
		depth:   16,
		replies: 1,
		fill:    fillStrings,
		op: each(func(i, n int) []string {
			return []string{"SET", "key:" + number(scatter(i, 2*n)), "x", "EX", "3600"}
		}),
	},
	{name: "set", clients: 8, depth: 1, replies: 1, fill: fillStrings,
		op: each(func(i, n int) []string { return []string{"SET", "key:" + number(scatter(i, n)), fingerprint(i)} })},
	{name: "get", clients: 8, depth: 1, replies: 1, fill: fillStrings,
		op: each(func(i, n int) []string { return []string{"GET", "key:" + number(scatter(i, n))} })},
	{name: "set-pipelined-100", clients: 2, depth: 100, replies: 1, fill: fillStrings,
		op: each(func(i, n int) []string { return []string{"SET", "key:" + number(scatter(i, n)), fingerprint(i)} })},
	{name: "blpop-handoff-8-waiters", once: true, measure: handoffRate},
	{name: "publish-10-subscribers", once: true, measure: publishRate},
}
