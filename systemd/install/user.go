package install

import "strings"

// makeUser plans a system user without rights, where there is none of that name.
func (m *Machine) makeUser(p *Plan, name string) error {
	has, err := m.hasUser(name)
	if err != nil || has || name == "" {
		return err
	}
	p.add(Run{
		"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell",
		"/usr/sbin/nologin", name,
	})
	return nil
}

func (m *Machine) hasUser(name string) (bool, error) {
	list, err := m.read("/etc/passwd")
	for line := range strings.Lines(list) {
		if user, _, _ := strings.Cut(line, ":"); user == name && name != "" {
			return true, err
		}
	}
	return false, err
}
