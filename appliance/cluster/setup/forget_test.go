package setup

import (
	"os"
	"testing"

	"github.com/crawlbox/crawlbox/configs"
)

// TestForgetCluster_NoDir leaves files where the program happens to be that have the names of a cluster's.
func TestForgetCluster_NoDir(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(ofCluster[0], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ForgetCluster(configs.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ofCluster[0]); err != nil {
		t.Error(err)
	}
}
