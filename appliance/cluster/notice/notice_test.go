package notice

import (
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// cluster returns a CA, and the identity of its manager.
func cluster(t *testing.T) (*pki.CA, *pki.Identity) {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self := pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}
	id, err := pki.ManagerIdentity(t.TempDir(), ca, self, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	return ca, id
}

// TestCheck follows what the cluster's CA has signed and is new, and nothing else.
func TestCheck(t *testing.T) {
	t.Parallel()
	ca, id := cluster(t)
	foreign, _ := cluster(t)
	n := Notice{Epoch: 2, Managers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:7980")}}
	signed, err := n.Sign(ca)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := n.Sign(foreign)
	if err != nil {
		t.Fatal(err)
	}
	claimed := strange
	claimed.Cluster = signed.Cluster
	elsewhere := signed
	elsewhere.Managers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.66:7980")}
	later := signed
	later.Epoch = 3
	nowhere, err := Notice{Epoch: 3}.Sign(ca)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		n     Notice
		epoch int
		want  error
	}{
		"good":                      {signed, 1, nil},
		"of now":                    {signed, 2, ErrOutdated},
		"of before":                 {signed, 3, ErrOutdated},
		"of another cluster":        {strange, 1, ErrUnsigned},
		"signed by another cluster": {claimed, 1, ErrUnsigned},
		"with another manager":      {elsewhere, 1, ErrUnsigned},
		"of another epoch":          {later, 1, ErrUnsigned},
		"without a manager":         {nowhere, 1, ErrUnsigned},
		"not signed":                {n, 1, ErrUnsigned},
		"nothing":                   {Notice{}, -1, ErrUnsigned},
	} {
		if err := tc.n.Check(id, tc.epoch); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	path := filepath.Join(t.TempDir(), "notice")
	if none, err := Load(path); err != nil || none.Managers != nil {
		t.Errorf("of none: %+v, %v", none, err)
	}
	if err := signed.Save(path); err != nil {
		t.Fatal(err)
	}
	if kept, err := Load(path); err != nil || !reflect.DeepEqual(kept, signed) || kept.Check(id, 1) != nil {
		t.Errorf("kept is %+v, %v", kept, err)
	}
}
