package node

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"

	"github.com/crawlbox/crawlbox/appliance/bootstrap"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// serveCA shows the certificate of the CA, which each handshake shows too.
func (m *Manager) serveCA(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = rw.Write(m.ca.PEM())
}

// serveScript answers the script that brings this manager's program onto a machine.
func (m *Manager) serveScript(rw http.ResponseWriter, r *http.Request, role string) {
	state, err := m.upgrade.State()
	if err != nil {
		m.log.Warn("bring crawlbox onto a machine", "remote", r.RemoteAddr, "error", err)
		http.Error(rw, bootstrap.Refusal(err), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(rw, bootstrap.Script(bootstrap.Program{
		URL: "https://" + m.nodeAddr(m.addr) + bootstrap.PathProgram, Role: role, Version: m.opts.Version, SHA256: state.SHA256, Arch: runtime.GOARCH,
	}))
}

func (m *Manager) serveProgram(rw http.ResponseWriter, r *http.Request, _ string) {
	program, err := os.Open(upgrade.SelfPath)
	if err != nil {
		m.log.Warn("bring crawlbox onto a machine", "remote", r.RemoteAddr, "error", err)
		http.Error(rw, "the program cannot be read", http.StatusInternalServerError)
		return
	}
	defer program.Close()
	if info, err := program.Stat(); err == nil {
		rw.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(rw, program) // who asks checks what comes
}

// refuseBootstrap answers what the line runs in place of the script.
func refuseBootstrap(rw http.ResponseWriter, err error) {
	http.Error(rw, bootstrap.Refusal(err), http.StatusForbidden)
}
