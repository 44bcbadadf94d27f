package e2e

import (
	"os"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestMain(m *testing.M) {
	testenv.RootForAll()
	os.Exit(m.Run())
}
