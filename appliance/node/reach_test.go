package node

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/configs"
)

func TestAnswerReach(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	g := &ground{reached: newReached(), cfg: configs.Default(), addr: netip.MustParseAddr("127.0.0.1"), log: slog.New(slog.DiscardHandler)}
	ask := func(body string) (*httptest.ResponseRecorder, reachAnswer) {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, pathReach, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.2:4711"
		g.answerReach(rec, r)
		var a reachAnswer
		_ = json.Unmarshal(rec.Body.Bytes(), &a)
		return rec, a
	}
	question, err := json.Marshal(reachQuestion{[]uint16{port}})
	if err != nil {
		t.Fatal(err)
	}
	_, a := ask(string(question))
	if len(a.Tries) != 1 || a.Tries[0].Error != "" || a.Seen != netip.MustParseAddr("127.0.0.2") || a.Time.IsZero() {
		t.Errorf("got %+v", a)
	}
	// It does not scan.
	for _, body := range []string{"", "nonsense", `{"ports":[1,2,3,4,5,6,7,8,9]}`} {
		if rec, _ := ask(body); rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, rec.Code)
		}
	}
}
