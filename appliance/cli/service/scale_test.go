package service

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func FuzzParseReplicas(f *testing.F) {
	for _, seed := range []string{
		"a=3 b=5", "a=-1", "a=x", "a", "=", "a=1 a=2", "a=99999999999", "a==1", "a=auto b=1", "a=auto a=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		req, err := parseReplicas(&cobra.Command{Use: "scale"}, args)
		if err != nil {
			return
		}
		if n := len(req.Replicas) + len(req.Auto); n != len(args) {
			t.Errorf("%q: %d services of %d arguments", line, n, len(args))
		}
		for service, n := range req.Replicas {
			if service == "" || n < 0 || slices.Contains(req.Auto, service) {
				t.Errorf("%q: %q=%d", line, service, n)
			}
		}
	})
}
