package front

import (
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// BenchmarkFront measures the engine alone and through a front: on the same machine, in the same run, in turn, with
// the same load of redis-benchmark. ratio is of the commands a second, added-ms the difference of the medians of the
// time that a command takes, front-cpu-us and engine-cpu-us what each takes of the processors for one: on a machine
// with too few of them the ratio says how they are shared.
//
//	go test -bench Front -benchtime 1x ./embedded/queue/front
func BenchmarkFront(b *testing.B) {
	for _, row := range []struct {
		name string
		args []string
	}{
		{"SET/alone", []string{"-t", "set", "-c", "1", "-n", "20000"}},
		{"SET/clients=50", []string{"-t", "set", "-c", "50", "-n", "200000"}},
		{"SET/clients=50/pipeline=16", []string{"-t", "set", "-c", "50", "-P", "16", "-n", "1000000"}},
		{"SET/clients=50/pipeline=64", []string{"-t", "set", "-c", "50", "-P", "64", "-n", "2000000"}},
		{"LPUSH/clients=50/pipeline=64", []string{"-t", "lpush", "-c", "50", "-P", "64", "-n", "2000000"}},
		{"LPOP/clients=50/pipeline=64", []string{"-t", "lpop", "-c", "50", "-P", "64", "-n", "2000000"}},
		{"SET/1KB/clients=50/pipeline=64", []string{"-t", "set", "-d", "1024", "-c", "50", "-P", "64", "-n", "500000"}},
		{"LRANGE_300/clients=50/pipeline=16", []string{"-t", "lrange_300", "-c", "50", "-P", "16", "-n", "30000"}},
	} {
		b.Run(row.name, func(b *testing.B) {
			e, at := startTCPEngine(b)
			opts := Options{Engine: e.engine()}
			opts.Engine.Dial = func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", at)
			}
			f := startFront(b, opts)
			for b.Loop() {
				compareRates(b, e, at, f.Addr(), row.args)
			}
		})
	}
}

// startTCPEngine starts an engine that listens on a port of loopback too.
func startTCPEngine(t testing.TB) (e *engineProcess, at string) {
	at = testenv.FreeAddr(t).String()
	_, port, _ := net.SplitHostPort(at)
	return startEngine(t, "--port", port, "--bind", "127.0.0.1"), at
}

const benchRounds = 3 // of which the median counts

func compareRates(b *testing.B, e *engineProcess, engine, front string, args []string) {
	var front0, engine0, front1, engine1 time.Duration
	passed := 0.0
	var direct, through, directP50, throughP50 []float64
	for range benchRounds {
		rate, p50 := redisBenchmark(b, engine, enginePassword, args)
		direct, directP50 = append(direct, rate), append(directP50, p50)
		front0, engine0 = cpuOf(b, os.Getpid()), cpuOf(b, e.cmd.Process.Pid)
		rate, p50 = redisBenchmark(b, front, clusterPassword, args)
		front1 += cpuOf(b, os.Getpid()) - front0
		engine1 += cpuOf(b, e.cmd.Process.Pid) - engine0
		n, _ := strconv.ParseFloat(args[len(args)-1], 64)
		passed += n
		through, throughP50 = append(through, rate), append(throughP50, p50)
	}
	b.ReportMetric(median(through), "front/s")
	b.ReportMetric(median(direct), "engine/s")
	b.ReportMetric(median(through)/median(direct), "ratio")
	b.ReportMetric(median(throughP50)-median(directP50), "added-ms")
	b.ReportMetric(float64(front1.Microseconds())/passed, "front-cpu-us")
	b.ReportMetric(float64(engine1.Microseconds())/passed, "engine-cpu-us")
	b.ReportMetric(0, "ns/op")
}

// cpuOf returns what a process has used of the processors.
func cpuOf(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var ticks int64
	for _, field := range strings.Fields(rest)[11:13] {
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// redisBenchmark returns commands a second, and the median of the milliseconds that one takes.
func redisBenchmark(b *testing.B, addr, password string, args []string) (rate, p50 float64) {
	host, port, _ := net.SplitHostPort(addr)
	args = append([]string{"-h", host, "-p", port, "-a", password, "--csv"}, args...)
	cmd := exec.Command("redis-benchmark", args...)
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("redis-benchmark: %v\n%s", err, out)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 {
		b.Fatalf("redis-benchmark says %q", out)
	}
	last := rows[len(rows)-1] // before it some fill
	rate, _ = strconv.ParseFloat(last[1], 64)
	p50, _ = strconv.ParseFloat(last[4], 64)
	return rate, p50
}
