// Package storage ties the registry to distribution: its handlers, the storage driver
// beneath them, and its log.
//
// distribution's own file driver does not note when a client was last told of a blob,
// which the collection lives on, leaves half-written files on a full disk, and hides
// that the disk is full from the handler of the request: see Driver and Fault. Its
// configuration can only name drivers, and panics where it is wrong: see NewApp.
package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

const (
	// driverName is how distribution's configuration asks for our driver.
	driverName = "crawlbox"
	// MaxThreads bounds the file operations at a time, as distribution does.
	MaxThreads = 100
	// MaxListed bounds one page of the catalog and of a list of tags.
	MaxListed = 1000
)

func init() { factory.Register(driverName, driverFactory{}) }

// driverFactory hands a driver that exists already through distribution's
// configuration, which can only name drivers.
type driverFactory struct{}

func (driverFactory) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	d, ok := parameters["driver"].(storagedriver.StorageDriver)
	if !ok {
		return nil, errors.New("the driver parameter is missing")
	}
	return d, nil
}

// NewApp builds distribution's handlers, whole or sparse as to the indexes that they
// take; see Registry.Sparse. NewApp panics where its configuration is wrong; that
// becomes an error.
func NewApp(secret string, d storagedriver.StorageDriver, sparse bool) (app *handlers.App, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("configure distribution: %v", p)
		}
	}()
	c := config(secret, d)
	c.Validation.Disabled = sparse
	return handlers.NewApp(context.Background(), c), nil
}

func config(secret string, d storagedriver.StorageDriver) *configuration.Configuration {
	c := &configuration.Configuration{
		Storage: configuration.Storage{
			driverName: {"driver": d},
			"delete":   {"enabled": true},
			"redirect": {"disable": true},
			// GC removes stale uploads itself.
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	c.HTTP.Secret = secret
	// The same registry answers under several names and ports.
	c.HTTP.RelativeURLs = true
	c.Catalog.MaxEntries = MaxListed
	c.Tags.MaxTags = MaxListed
	return c
}
