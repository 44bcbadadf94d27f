package service

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func FuzzParseReplicas(f *testing.F) {
	for _, seed := range []string{"a=3 b=5", "a=-1", "a=x", "a", "=", "a=1 a=2", "a=99999999999", "a==1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		replicas, err := parseReplicas(&cobra.Command{Use: "scale"}, args)
		if err != nil {
			return
		}
		if len(replicas) != len(args) {
			t.Errorf("%q: %d services of %d arguments", line, len(replicas), len(args))
		}
		for service, n := range replicas {
			if service == "" || n < 0 {
				t.Errorf("%q: %q=%d", line, service, n)
			}
		}
	})
}
