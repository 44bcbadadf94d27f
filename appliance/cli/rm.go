package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func rmCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm SERVICE...",
		Short:             "Remove services, and their containers from every node",
		Args:              atLeast(1, "a service"),
		ValidArgsFunction: a.complete(serviceNames),
	}
	flags := addChangeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		services = slices.Compact(slices.Sorted(slices.Values(services)))
		if services[0] == "" {
			return usagef(cmd, "a name is empty")
		}
		return a.follow(cmd, flags, change{
			services: services,
			done: func(e api.Event) string {
				return fmt.Sprintf("removed, %s gone in %s", count(e.Done.Stopped, "container"), took(e.Done.Took))
			},
			run: func(ctx context.Context, c *api.Client, see func(api.Event) error) error {
				return removeAll(ctx, c, services, see)
			},
		})
	}
	return cmd
}

// removeAll removes services at the same time, but none where one of them does
// not exist: that is a slip of the hand.
func removeAll(ctx context.Context, c *api.Client, services []string, see func(api.Event) error) error {
	for _, service := range services {
		if _, err := c.Inspect(ctx, service); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	seeOne := func(e api.Event) error {
		mu.Lock()
		defer mu.Unlock()
		return see(e)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		all.Go(func() {
			errs[i] = c.RemoveService(ctx, service, seeOne)
			if errors.Is(errs[i], errDetached) {
				cancel() // every service has been accepted
			}
		})
	}
	all.Wait()
	if i := slices.Index(errs, errDetached); i >= 0 {
		return errDetached
	}
	return errors.Join(errs...)
}
