package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

func RmCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm SERVICE...",
		Short:             "Remove services, and their containers from every node",
		Example:           "  crawlbox rm spider robot",
		Args:              command.AtLeast(1, "a service"),
		ValidArgsFunction: a.Complete(command.ServiceNames),
	}
	flags := change.AddFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		services = slices.Compact(slices.Sorted(slices.Values(services)))
		if services[0] == "" {
			return command.Usagef(cmd, "a name is empty")
		}
		return change.Follow(a, cmd, flags, change.Change{
			Services: services,
			Done: func(e deploy.Progress) string {
				return fmt.Sprintf("removed, %s gone in %s", words.Count(e.Done.Stopped, "container"),
					tui.Took(e.Done.Took))
			},
			Run: func(ctx context.Context, c *api.Client, see func(deploy.Progress) error) error {
				return removeAll(ctx, c, services, see)
			},
		})
	}
	return cmd
}

// removeAll removes services at the same time, but none where one of them does
// not exist: that is a slip of the hand.
func removeAll(ctx context.Context, c *api.Client, services []string, see func(deploy.Progress) error) error {
	for _, service := range services {
		if _, err := c.Inspect(ctx, service); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	seeOne := func(e deploy.Progress) error {
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
			if errors.Is(errs[i], change.ErrDetached) {
				cancel() // every service has been accepted
			}
		})
	}
	all.Wait()
	if i := slices.Index(errs, change.ErrDetached); i >= 0 {
		return change.ErrDetached
	}
	return errors.Join(errs...)
}
