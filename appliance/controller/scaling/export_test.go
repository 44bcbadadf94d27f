package scaling

import "context"

func (c *Controller) Policies() int { return len(c.policies) }

func (c *Controller) Round(ctx context.Context) error { return c.round(ctx) }
