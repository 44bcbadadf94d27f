package install

import (
	"context"
	"errors"

	"github.com/crawlbox/crawlbox/systemd"
)

// HasUpgradeUnit reports whether the machine has the unit that upgrades its node.
func (m *Machine) HasUpgradeUnit() bool {
	return m.HasSystemd() && m.exists(unitPath(systemd.Service)) && m.exists(unitPath(systemd.Upgrade))
}

// StartUpgrade starts what upgrades the node, beside the node, and returns at once.
func (m *Machine) StartUpgrade(ctx context.Context) error {
	_, err := m.systemctl(ctx, "start", "--no-block", systemd.Upgrade)
	return err
}

// Restart begins to restart the service.
func (m *Machine) Restart(ctx context.Context) error {
	_, err := m.systemctl(ctx, "restart", "--no-block", systemd.Service)
	return err
}

// Running returns where the program that the service runs can be read, also when its
// file was replaced.
func (m *Machine) Running(ctx context.Context) (path string, err error) {
	pid, err := m.systemctl(ctx, "show", "--property=MainPID", "--value", systemd.Service)
	if err != nil {
		return "", err
	}
	if pid == "" || pid == "0" {
		return "", errors.New("the service does not run")
	}
	return m.path("/proc/" + pid + "/exe"), nil
}
