package queue

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRealRedis(t *testing.T) {
	addr := os.Getenv("REAL_REDIS")
	skip := map[string]bool{"XADD":true,"INCR":true,"INCRBY":true,"DECR":true,"DECRBY":true}
	for seed := range uint64(200) {
		ctx := within(t, time.Minute)
		q := startQueue(t, testOptions(t.TempDir()))
		ours := q.client(t)
		plain := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
		plain.FlushAll(ctx)
		w := writer{rand.New(rand.NewPCG(seed, 1))}
		for range 300 {
			cmd := w.command()
			name := cmd[0].(string)
			if skip[name] { continue }
			want, wantErr := plain.Do(ctx, cmd...).Result()
			got, gotErr := ours.Do(ctx, cmd...).Result()
			if !sameReply(name, got, want) || !sameError(gotErr, wantErr) {
				t.Errorf("%.200s: got %.200s %v, want %.200s %v", fmt.Sprint(cmd), fmt.Sprint(got), gotErr, fmt.Sprint(want), wantErr)
				skip[name] = true
				break
			}
			a, b := dumpAll(t, ours, 1, true), dumpAll(t, plain, 1, true)
			bad := false
			for k := range b { if stripTTL(a[k]) != stripTTL(b[k]) && (len(b[k]) < 6 || b[k][:6] != "stream") && b[k][:4] != "hash" && b[k][:4] != "set " && b[k][:4] != "zset" || (strings.HasSuffix(a[k]," -1") != strings.HasSuffix(b[k]," -1")) { t.Errorf("after %.200s: %s is %.200s want %.200s", fmt.Sprint(cmd), k, a[k], b[k]); bad = true } }
			for k := range a { if _, ok := b[k]; !ok { t.Errorf("after %.200s: %s is %.200s want none", fmt.Sprint(cmd), k, a[k]); bad = true } }
			if bad { skip[name] = true; break }
		}
		plain.Close()
		q.stop()
	}
}

func stripTTL(s string) string { i := strings.LastIndex(s, " until "); if i < 0 { return s }; return s[:i] }
