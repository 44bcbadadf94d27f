package cluster

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, secret := range map[string]string{
		"-----BEGIN PRIVATE KEY-----\nMIG\nabc\n-----END PRIVATE KEY-----\n-----BEGIN " +
			"CERTIFICATE-----\nshown\n-----END CERTIFICATE-----\n": "MIG",
		`[{"id":"shown","secret":"c2Vj","hash":"aGFz"}]`: "c2Vj",
		`{"keys":["a2V5"],"next":"a2V5","x":"shown"}`:    "a2V5",
		`[{"version":1,"image":"shown:1","spec":{"TaskTemplate":{"ContainerSpec":{"Env":` +
			`["API_KEY=hush","REDIS_URL=redis://default:hush@h:1"],"Args":["--password","hush"]}}},` +
			`"source":{"path":"/a","flags":["build-arg=A=hush"]}}]`: "hush",
		`{"url":"redis://default:hush@shown:1","front":{"password":"hush","engine":{"password":"hush"},` +
			`"tls":{"certificate":"shown","private_key":"hush"}}}`: "hush",
	} {
		got, err := redact([]byte(in))
		if err != nil || strings.Contains(string(got), secret) || !strings.Contains(string(got), "shown") {
			t.Errorf("%s becomes %s, %v", in, got, err)
		}
	}
}

// TestLookAt finds a change of the state by the beginning of its ID.
func TestLookAt(t *testing.T) {
	t.Parallel()
	dir := state.Dir(t.TempDir())
	d, err := state.Open(dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	first, err := d.Commit(t.Context(), "", state.Contents{"a": []byte("1")}, "first")
	if err == nil {
		_, err = d.Commit(t.Context(), first, state.Contents{"a": []byte("2")}, "second")
	}
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"": "2", string(first): "1", string(first[:short]): "1"} {
		view, err := lookAt(dir, id)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := view.Document("a"); err != nil || string(data) != want {
			t.Errorf("at %q it is %q, %v", id, data, err)
		}
	}
	if _, err := lookAt(dir, "none"); err == nil || !strings.Contains(err.Error(), "`crawlbox state log` lists them") {
		t.Errorf("of an unknown one: %v", err)
	}
}
