package cluster

import (
	"strings"
	"testing"
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
	} {
		got, err := redact([]byte(in))
		if err != nil || strings.Contains(string(got), secret) || !strings.Contains(string(got), "shown") {
			t.Errorf("%s becomes %s, %v", in, got, err)
		}
	}
}
