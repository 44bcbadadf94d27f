package upgrade

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// Offered returns the program that a manager offers.
func (f Directory) Offered() string { return filepath.Join(string(f), "offered") }

// Put keeps a program that is to be offered, if it has the size and the checksum, and
// returns what it is. One that is no crawlbox for this machine is not kept.
func (f Directory) Put(ctx context.Context, want Offer, program io.Reader) (Offer, error) {
	if err := f.make(); err != nil {
		return want, err
	}
	if err := install(f.Offered(), program, 0o700, want); err != nil {
		return want, err
	}
	is, err := Inspect(ctx, f.Offered())
	if err != nil {
		_ = os.RemoveAll(f.Offered())
	}
	return is, err
}
