package api_test

import (
	"net/http/httptest"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// TestStarting: any call of a node that starts is answered by what that is about, and who else is told hears it.
func TestStarting(t *testing.T) {
	t.Parallel()
	told := ""
	for _, tell := range []func(string){nil, func(phase string) { told = phase }} {
		s := api.NewStarting(tell)
		for _, phase := range []string{"", `waiting for "h2"`} {
			want := `{"code":"unavailable","message":"this node starts and does not serve yet"}` + "\n"
			if phase != "" {
				s.Phase(phase)
				want = `{"code":"unavailable","message":"this node starts and does not serve yet: waiting for \"h2\""}` +
					"\n"
			}
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, httptest.NewRequest("POST", "/v1/anything", nil))
			if rec.Code != 503 || rec.Body.String() != want {
				t.Errorf("the answer is %d: %s", rec.Code, rec.Body)
			}
		}
	}
	if told != `waiting for "h2"` {
		t.Errorf("the other is told %q", told)
	}
}
