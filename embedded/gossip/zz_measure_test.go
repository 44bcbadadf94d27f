package gossip
import ("testing";"time";"context";"log/slog";"net/netip";"fmt";"os";"sync";"runtime";"syscall")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func TestZZ(t *testing.T) {
 const n=100
 ctx,stop:=context.WithCancel(context.Background()); var wg sync.WaitGroup
 start:=time.Now(); var gs []*Gossip
 seed:=netip.MustParseAddrPort("127.0.90.1:17990")
 log:=slog.New(slog.NewTextHandler(os.Stdout,&slog.HandlerOptions{Level:slog.LevelWarn}))
 for i:=range n { g,_:=New(Options{Addr:netip.AddrFrom4([4]byte{127,0,90,byte(i+1)}),Port:17990,Key:testKey,Self:Node{ID:fmt.Sprintf("%026d",i),Swarm:fmt.Sprintf("%025d",i),Name:"host",Role:"worker",Version:"1.0.0",Docker:"running",FreeDisk:1<<40},Seeds:func()[]netip.AddrPort{return []netip.AddrPort{seed}}},log.With("i",i)); gs=append(gs,g); wg.Go(func(){g.Run(ctx)}) }
 done:=false
 for s:=0;s<100 && !done;s++ { time.Sleep(time.Second)
  h:=map[int]int{}; for _,g:=range gs { h[g.roster.alive()]++ }
  done = h[n]==n
  if s%5==0||done { fmt.Println(time.Since(start),h, "cpu",cpu()) 
   for i,g:=range gs { if g.roster.alive()!=n && s>10 { have:=map[string]State{}; for _,m:=range g.Members() {have[m.ID]=m.State}; for j:=range n { id:=fmt.Sprintf("%026d",j); if have[id]!=Alive {fmt.Println("  ",i,"misses",j,have[id])}} }}
  }}
 c:=cpu(); time.Sleep(20*time.Second); fmt.Println("cpu per node", (cpu()-c)/20/n, "per s")
 runtime.GC(); var m runtime.MemStats; runtime.ReadMemStats(&m); fmt.Println("heap per node KB", m.HeapAlloc/1024/n)
 stop(); s:=time.Now(); wg.Wait(); fmt.Println("left", time.Since(s))
}
