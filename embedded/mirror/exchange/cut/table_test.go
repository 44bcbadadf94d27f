package cut

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/opencontainers/go-digest"
)

// cut cuts random bytes in three pieces, of which the last is short.
func cutBlob(t *testing.T) (data []byte, d digest.Digest, table *Table) {
	t.Helper()
	const piece = 1 << 20
	data = make([]byte, 2*piece+1000)
	rand.Read(data)
	d = digest.FromBytes(data)
	table, err := Make(d, bytes.NewReader(data), int64(len(data)), piece)
	if err != nil {
		t.Fatal(err)
	}
	if table.Pieces() != 3 {
		t.Fatalf("%d pieces", table.Pieces())
	}
	return data, d, table
}

func (t *Table) slice(data []byte, i int) []byte {
	offset, length := t.Span(i)
	return data[offset : offset+length]
}

// A piece is right in its own place alone, and all of them only if they lead to the
// digest.
func TestTable_Check(t *testing.T) {
	data, d, table := cutBlob(t)
	for i := range 3 {
		piece := table.slice(data, i)
		if !table.check(d, i, piece) {
			t.Errorf("piece %d is refused", i)
		}
		if table.check(d, (i+1)%3, piece) {
			t.Errorf("piece %d is taken for another", i)
		}
		bad := bytes.Clone(piece)
		bad[len(bad)-1] ^= 1
		if table.check(d, i, bad) {
			t.Errorf("a bit of piece %d can be changed", i)
		}
	}
	if table.check(digest.FromString("another"), 2, table.slice(data, 2)) {
		t.Error("the pieces lead to any digest")
	}
	if !table.check(d, 1, table.slice(data, 1)) {
		t.Error("a check has changed the table")
	}
}

// Whoever makes up a table can't make up pieces with it that lead to the digest.
func TestTable_CheckLies(t *testing.T) {
	data, d, table := cutBlob(t)
	lie := bytes.Clone(data)
	lie[5000] ^= 1
	made, err := Make(digest.FromBytes(lie), bytes.NewReader(lie), table.Size, table.Piece)
	if err != nil {
		t.Fatal(err)
	}
	for i, right := range []bool{true, true, false} {
		if got := made.check(d, i, made.slice(lie, i)); got != right {
			t.Errorf("piece %d: %v", i, got)
		}
	}
	if _, err := Make(d, bytes.NewReader(lie), table.Size, table.Piece); err == nil {
		t.Error("a blob that is another one is cut")
	}
}

func TestTable_Decode(t *testing.T) {
	_, _, table := cutBlob(t)
	good := table.Encode()
	got, err := Decode(good)
	if err != nil || got.Size != table.Size || !bytes.Equal(got.Encode(), good) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": good[:len(good)-1], "one too few": good[:len(good)-32],
		"one too many": append(bytes.Clone(good), good[16:48]...), "no size": append(make([]byte, 8), good[8:]...),
	} {
		if got, err := Decode(bad); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
