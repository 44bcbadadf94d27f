package reach

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
)

// ask asks as a node at 127.0.0.2.
func ask(h agent.Handler, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/reach", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.2:4711"
	h.ServeHTTP(rec, r)
	return rec
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	h := Answer(netip.MustParseAddr("127.0.0.1"))
	question, err := json.Marshal(request{[]uint16{port}})
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	_ = json.Unmarshal(ask(h, string(question)).Body.Bytes(), &a)
	if len(a.Tries) != 1 || a.Tries[0].Error != "" || a.Seen != netip.MustParseAddr("127.0.0.2") || a.Time.IsZero() {
		t.Errorf("got %+v", a)
	}
	// It does not scan.
	for _, body := range []string{"", "nonsense", `{"ports":[1,2,3,4,5,6,7,8,9]}`} {
		if rec := ask(h, body); rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, rec.Code)
		}
	}
}

func TestAnswer_InALoop(t *testing.T) {
	t.Parallel()
	h := Answer(netip.MustParseAddr("127.0.0.1"))
	codes := map[int]int{}
	for range 5 * burst {
		codes[ask(h, `{"ports":[]}`).Code]++
	}
	if codes[http.StatusOK] > burst+1 || codes[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers: %v", codes)
	}
}
