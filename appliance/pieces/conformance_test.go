package pieces

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suite is the conformance suite of the OCI distribution specification.
const suite = "github.com/opencontainers/distribution-spec/conformance"

// TestConformance runs the suite against the manager's registry, and again with all
// that is read going through a worker's: whatever passed before has to pass again.
// Nothing is deleted, as a mirror may keep what is named by its digest.
func TestConformance(t *testing.T) {
	t.Parallel()
	path, err := exec.CommandContext(t.Context(), "go", "tool", "-n", suite).Output()
	if err != nil {
		t.Fatalf("build the suite: %v", err)
	}
	program := strings.TrimSpace(string(path))
	c := startPullCluster(t)
	worker := c.join()
	both := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			if strings.Contains(r.URL.Path, "/blobs/uploads/") {
				c.registry.Handler().ServeHTTP(w, r) // how far a push is
				return
			}
			worker.Handler().ServeHTTP(w, r)
			return
		}
		c.registry.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(both.Close)

	direct := conform(t, program, c.direct, "direct")
	mirrored := conform(t, program, both, "mirrored")
	all, more := 0, 0
	for name, want := range direct {
		got := mirrored[name]
		if got.passed < want.passed || got.tests != want.tests {
			t.Errorf("%s: %d of %d pass through the mirror, %d of %d without: %s",
				name, got.passed, got.tests, want.passed, want.tests, strings.Join(got.said, "; "))
		}
		all, more = all+want.passed, more+got.passed-want.passed
	}
	t.Logf("%d pass, and %d more with the mirror", all, more)
	if all < 100 || worker.Stats().Hits == 0 {
		t.Errorf("only %d passed, and %+v went through the mirror", all, worker.Stats())
	}
}

// conformed is how the tests of one name went; some come in no fixed order.
type conformed struct {
	tests, passed int
	said          []string // by those that failed
}

// conform runs the suite and returns how its tests went by their names.
func conform(t *testing.T, program string, srv *httptest.Server, repository string) map[string]conformed {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "OCI_RESULTS_DIR=" + dir, "OCI_TLS=disabled",
		"OCI_REGISTRY=" + srv.Listener.Addr().String(), "OCI_REPO1=" + repository + "/one",
		"OCI_REPO2=" + repository + "/two",
		"OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false"}
	out, runErr := cmd.CombinedOutput() // ends with 1 where a test fails
	report, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("%v: %v\n%s", err, runErr, out)
	}
	var suites struct {
		Tests []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
			Said   string `xml:"system-out"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatal(err)
	}
	went := map[string]conformed{}
	for _, test := range suites.Tests {
		w := went[test.Name]
		w.tests++
		if test.Status == "passed" {
			w.passed++
		} else if test.Said != "" {
			w.said = append(w.said, test.Said)
		}
		went[test.Name] = w
	}
	return went
}
