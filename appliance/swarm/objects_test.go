package swarm

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// keeper is a Docker Engine whose network has an endpoint, which can't be made with a
// real one: those outlive their containers by chance only.
type keeper struct {
	used    bool // the endpoint is of a container that is there
	dropped atomic.Bool
	refused atomic.Int32
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
	answer := func(code int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
	switch {
	case r.Method == http.MethodDelete && k.dropped.Load():
		answer(http.StatusNoContent, "")
	case r.Method == http.MethodDelete:
		k.refused.Add(1)
		answer(http.StatusForbidden, `{"message": "network x has active endpoints"}`)
	case path == "networks/x":
		answer(http.StatusOK, `{"Name": "x", "Containers": {"ep-1": {"Name": "gateway_1"}}}`)
	case path == "containers/ep-1/json" && k.used:
		answer(http.StatusOK, `{"Id": "ep-1"}`)
	case path == "networks/x/disconnect":
		k.dropped.Store(true)
		answer(http.StatusOK, "")
	default:
		answer(http.StatusNotFound, `{"message": "no such thing"}`)
	}
}

// An endpoint that has outlived its container does not keep a network.
func TestRemoveNetwork_EndpointLeft(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	if err := engineOf(t, k.ServeHTTP).RemoveNetwork(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if n := k.refused.Load(); n != 1 {
		t.Errorf("it was refused %d times, want once", n)
	}
}

// One of a container does, and stays.
func TestRemoveNetwork_InUse(t *testing.T) {
	t.Parallel()
	k := &keeper{used: true}
	if err := engineOf(t, k.ServeHTTP).RemoveNetwork(t.Context(), "x"); err == nil ||
		!strings.Contains(err.Error(), "containers that are not of a swarm use the network x") {
		t.Errorf("%v", err)
	}
	if k.dropped.Load() {
		t.Error("a container was taken off its network")
	}
}
