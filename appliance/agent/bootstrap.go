package agent

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"

	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// AnswerBootstrap brings this manager's program onto machines that are to join: the
// certificate of the CA, which each handshake shows too, and to those who hold a join
// token a script and the program. addr is the port between nodes of this manager.
func AnswerBootstrap(joins *enroll.Server, ca *pki.CA, node *upgrade.Node, addr string, log *slog.Logger) []Handler {
	b := bootstrapper{node, addr, log}
	return []Handler{
		Raw(routeCA, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-pem-file")
			_, _ = w.Write(ca.PEM())
		})),
		Raw(routeScript, joins.RequireToken(b.script, RefuseBootstrap)),
		Raw(routeBootstrap, joins.RequireToken(b.program, RefuseBootstrap)),
	}
}

type bootstrapper struct {
	node *upgrade.Node
	addr string
	log  *slog.Logger
}

func (b bootstrapper) script(w http.ResponseWriter, r *http.Request, role string) {
	state, err := b.node.State()
	if err != nil {
		b.log.Warn("failed to bring crawlbox onto a machine", "remote", r.RemoteAddr, "error", err)
		http.Error(w, bootstrap.Refusal(err), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, bootstrap.Script(bootstrap.Program{
		URL:     "https://" + b.addr + bootstrap.PathProgram,
		Role:    role,
		Version: state.Version,
		SHA256:  state.SHA256,
		Arch:    runtime.GOARCH,
	}))
}

func (b bootstrapper) program(w http.ResponseWriter, r *http.Request, _ string) {
	program, err := os.Open(upgrade.SelfPath)
	if err != nil {
		b.log.Warn("failed to bring crawlbox onto a machine", "remote", r.RemoteAddr, "error", err)
		http.Error(w, "the program cannot be read", http.StatusInternalServerError)
		return
	}
	defer program.Close()
	if info, err := program.Stat(); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, program) // the client checks what comes
}

// RefuseBootstrap answers what the bootstrap command runs in place of the script.
func RefuseBootstrap(w http.ResponseWriter, err error) {
	http.Error(w, bootstrap.Refusal(err), http.StatusForbidden)
}
