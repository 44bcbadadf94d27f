package servicespec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

var updateGolden = flag.Bool("update-compose", false, "write the golden files of FromConfig anew")

func composeServices(t *testing.T, text string) []compose.Service {
	t.Helper()
	cfg, err := configs.Parse("/etc/crawlbox/crawlbox.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Services
}

// Each file in testdata/compose has a golden file beside it, with the spec of
// each of its services.
func TestFromConfig_Golden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/compose/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			specs := map[string]any{}
			for _, svc := range composeServices(t, string(text)) {
				spec, err := FromConfig(svc)
				if err != nil {
					t.Fatal(err)
				}
				if spec.Labels[fleet.LabelHash] != svc.Hash {
					t.Errorf("%s: label %s is %q", svc.Name, fleet.LabelHash, spec.Labels[fleet.LabelHash])
				}
				spec.Labels[fleet.LabelHash] = "HASH" // configs has its own test of it.
				specs[svc.Name] = spec
			}
			compareGolden(t, strings.TrimSuffix(file, ".yaml")+".json", specs)
		})
	}
}

func compareGolden(t *testing.T, file string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *updateGolden {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs, got:\n%s", file, got)
	}
}

func TestFromConfig_Parallelism(t *testing.T) {
	t.Parallel()
	for deploy, want := range map[string]uint64{
		"{replicas: 0}":   1,
		"{replicas: 1}":   1,
		"{replicas: 7}":   1,
		"{replicas: 8}":   2,
		"{replicas: 500}": 125,
		"{mode: global}":  globalParallelism,
		"{replicas: 8, update_config: {parallelism: 0}}":            0,
		"{replicas: 8, update_config: {parallelism: 3, delay: 1s}}": 3,
	} {
		svc := composeServices(t, "services: {a: {image: i, deploy: "+deploy+"}}")[0]
		spec, err := FromConfig(svc)
		if err != nil {
			t.Fatal(err)
		}
		if got := spec.UpdateConfig.Parallelism; got != want {
			t.Errorf("%s: updates %d at a time, want %d", deploy, got, want)
		}
		if got := spec.RollbackConfig.Parallelism; got != want {
			t.Errorf("%s: rolls back %d at a time, want %d", deploy, got, want)
		}
	}
}

func TestFromConfig_DropsRawSockets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ add, drop, want string }{
		{"", "", "CAP_NET_RAW"},
		{"", "NET_ADMIN", "NET_ADMIN CAP_NET_RAW"},
		{"", "ALL", "ALL"},
		{"cap_net_raw", "", ""},
		{"SYS_PTRACE", "", "CAP_NET_RAW"},
		{"NET_RAW", "NET_ADMIN", "NET_ADMIN"},
	} {
		var c types.ServiceConfig
		c.CapAdd, c.CapDrop = strings.Fields(tt.add), strings.Fields(tt.drop)
		if got := strings.Join(dropped(c), " "); got != tt.want {
			t.Errorf("added %q, dropped %q: drops %q, want %q", tt.add, tt.drop, got, tt.want)
		}
	}
}
