package api

import (
	"log/slog"
	"net/http"

	"github.com/crawlbox/crawlbox/configs"
)

// Handler serves the calls of Client from b. A call whose client has gone away
// is cancelled. A panic in b becomes an internal error and a line in log.
//
// Each call that changes something or hands out a secret is given to audit,
// which may be nil, when it is done: with who called, as far as the server uses
// ConnContext, and without any secret.
func Handler(b Backend, audit func(event string, attrs ...slog.Attr), log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	h := &handler{b: b, audit: audit, log: log}
	for pattern, call := range h.values() {
		mux.Handle(pattern, h.value(call))
	}
	mux.Handle("GET /v1/logs", streamed(h, h.logs))
	mux.Handle("POST /v1/scale", streamed(h, h.scale))
	mux.Handle("POST /v1/update", streamed(h, h.update))
	mux.Handle("POST /v1/deploy", streamed(h, h.deploy))
	mux.Handle("POST /v1/build", streamed(h, h.build))
	mux.Handle("POST /v1/services/{service}/restart", streamed(h, h.restart))
	mux.Handle("POST /v1/rollback", streamed(h, h.rollback))
	mux.Handle("POST /v1/upgrade", streamed(h, h.upgradeNodes))
	mux.Handle("DELETE /v1/services/{service}", streamed(h, h.removeService))
	mux.Handle("/", h.value(unknownCall))
	return mux
}

type handler struct {
	b     Backend
	audit func(event string, attrs ...slog.Attr)
	log   *slog.Logger
}

// call answers one JSON value; a nil value without an error answers nothing.
type call func(r *http.Request) (any, error)

func (h *handler) values() map[string]call {
	return map[string]call{
		"GET /v1/status":                           func(r *http.Request) (any, error) { return h.b.Status(r.Context()) },
		"GET /v1/config":                           func(r *http.Request) (any, error) { return h.b.Config(r.Context()) },
		"GET /v1/ca":                               func(r *http.Request) (any, error) { return h.b.CA(r.Context()) },
		"GET /v1/token":                            h.token,
		"GET /v1/tokens":                           func(r *http.Request) (any, error) { return list(h.b.Tokens(r.Context())) },
		"POST /v1/tokens":                          h.newToken,
		"DELETE /v1/tokens/{id}":                   h.revokeToken,
		"POST /v1/tokens/rotate":                   h.rotateTokens,
		"GET /v1/registry/accounts":                func(r *http.Request) (any, error) { return list(h.b.RegistryAccounts(r.Context())) },
		"POST /v1/registry/accounts/{name}":        h.registryLogin,
		"DELETE /v1/registry/accounts/{name}":      h.registryLogout,
		"POST /v1/leave":                           h.leave,
		"GET /v1/upgrade":                          func(r *http.Request) (any, error) { return h.b.UpgradeState(r.Context()) },
		"POST /v1/upgrade/program":                 h.offerProgram,
		"POST /v1/upgrade/plan":                    h.upgradePlan,
		"POST /v1/upgrade/self":                    h.upgradeSelf,
		"GET /v1/neighbours":                       func(r *http.Request) (any, error) { return list(h.b.Neighbours(r.Context())) },
		"GET /v1/nodes":                            func(r *http.Request) (any, error) { return list(h.b.Nodes(r.Context())) },
		"POST /v1/nodes/{node}/{verb}":             h.setNode,
		"DELETE /v1/nodes/{node}":                  h.removeNode,
		"GET /v1/services":                         func(r *http.Request) (any, error) { return list(h.b.Services(r.Context())) },
		"GET /v1/services/{service}":               h.inspect,
		"GET /v1/tasks":                            h.tasks,
		"POST /v1/deploy/plan":                     h.deployPlan,
		"POST /v1/scale/plan":                      h.scalePlan,
		"GET /v1/services/{service}/source":        func(r *http.Request) (any, error) { return h.b.Source(r.Context(), r.PathValue("service")) },
		"POST /v1/update/plan":                     h.updatePlan,
		"POST /v1/services/{service}/restart/plan": func(r *http.Request) (any, error) { return h.b.RestartPlan(r.Context(), r.PathValue("service")) },
		"GET /v1/definitions":                      func(r *http.Request) (any, error) { return list(h.b.Definitions(r.Context())) },
		"GET /v1/history/{service}":                func(r *http.Request) (any, error) { return list(h.b.History(r.Context(), r.PathValue("service"))) },
		"GET /v1/images":                           h.images,
		"DELETE /v1/images":                        h.removeImage,
		"POST /v1/images/gc":                       func(r *http.Request) (any, error) { return h.b.CollectImages(r.Context()) },
		"GET /v1/queue":                            h.queueLen,
		"GET /v1/queue/address":                    func(r *http.Request) (any, error) { return h.b.QueueAddress(r.Context()) },
		"GET /v1/queue/items":                      h.queuePeek,
		"POST /v1/queue/items":                     h.queuePush,
		"DELETE /v1/queue/items":                   h.queueClear,
	}
}

// list answers an empty list as [], not as null.
func list[T any](v []T, err error) (any, error) {
	if v == nil {
		v = []T{}
	}
	return v, err
}

func unknownCall(r *http.Request) (any, error) {
	return nil, &Error{
		Code:    CodeNotFound,
		Message: "no such call: " + r.Method + " " + r.URL.Path + "; the crawlbox that runs here may be of another version than this command",
	}
}

func (h *handler) leave(r *http.Request) (any, error) {
	force, err := flag(r, "force")
	if err != nil {
		return nil, err
	}
	return nil, h.b.Leave(r.Context(), force)
}

func (h *handler) setNode(r *http.Request) (any, error) {
	verb := r.PathValue("verb")
	switch verb {
	case "promote", "demote", "drain", "activate", "pause":
		return nil, h.b.SetNode(r.Context(), r.PathValue("node"), verb)
	}
	return nil, Invalid("cannot %q a node; it is promote, demote, drain, activate or pause", verb)
}

func (h *handler) removeNode(r *http.Request) (any, error) {
	force, err := flag(r, "force")
	if err != nil {
		return nil, err
	}
	return nil, h.b.RemoveNode(r.Context(), r.PathValue("node"), force)
}

// inspect hides what services are given as secrets: who reads the answer, or
// stores it as a record, asked for none.
func (h *handler) inspect(r *http.Request) (any, error) {
	v, err := h.b.Inspect(r.Context(), r.PathValue("service"))
	if err != nil {
		return nil, err
	}
	v.Spec, err = configs.HideSecrets(v.Spec)
	return v, err
}

func (h *handler) tasks(r *http.Request) (any, error) {
	all, err := flag(r, "all")
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	return list(h.b.Tasks(r.Context(), TaskQuery{Service: q.Get("service"), Node: q.Get("node"), All: all}))
}

func (h *handler) images(r *http.Request) (any, error) {
	nodes, err := flag(r, "nodes")
	if err != nil {
		return nil, err
	}
	return list(h.b.Images(r.Context(), nodes))
}

func (h *handler) removeImage(r *http.Request) (any, error) {
	ref, err := needed(r, "ref")
	if err != nil {
		return nil, err
	}
	return nil, h.b.RemoveImage(r.Context(), ref)
}
