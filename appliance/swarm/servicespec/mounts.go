package servicespec

import (
	"fmt"
	"io/fs"
	"maps"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/configs/compose"
)

// serviceMounts returns the volumes and the tmpfs of a service. Swarm makes named
// volumes on each node when a task first needs them, and wants the source of a
// bind to be there.
func serviceMounts(svc compose.Service) ([]mount.Mount, error) {
	var list []mount.Mount
	for _, v := range svc.Compose.Volumes {
		m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		switch v.Type {
		case types.VolumeTypeBind:
			m.BindOptions = bindOptions(v.Bind)
		case types.VolumeTypeVolume:
			definition := svc.Volumes[v.Source]
			m.Source = definition.Name
			m.VolumeOptions = volumeOptions(v.Volume, definition)
		case types.VolumeTypeTmpfs:
			m.TmpfsOptions = tmpfsOptions(v.Tmpfs)
		}
		list = append(list, m)
	}
	for _, text := range svc.Compose.Tmpfs {
		m, err := parseTmpfs(text)
		if err != nil {
			return nil, svc.Errorf("tmpfs", "%v", err)
		}
		list = append(list, m)
	}
	return list, nil
}

func bindOptions(bind *types.ServiceVolumeBind) *mount.BindOptions {
	if bind == nil || bind.Propagation == "" {
		return nil
	}
	return &mount.BindOptions{Propagation: mount.Propagation(bind.Propagation)}
}

func volumeOptions(use *types.ServiceVolumeVolume, definition types.VolumeConfig) *mount.VolumeOptions {
	options := &mount.VolumeOptions{}
	if use != nil {
		options.NoCopy = use.NoCopy
		options.Labels = use.Labels
	}
	if definition.External {
		return options // It is there, with the driver it was made with.
	}
	if len(definition.Labels) > 0 {
		labels := maps.Clone(map[string]string(definition.Labels))
		maps.Copy(labels, options.Labels)
		options.Labels = labels
	}
	if definition.Driver != "" || len(definition.DriverOpts) > 0 {
		options.DriverConfig = &mount.Driver{Name: definition.Driver, Options: definition.DriverOpts}
	}
	return options
}

func tmpfsOptions(tmpfs *types.ServiceVolumeTmpfs) *mount.TmpfsOptions {
	if tmpfs == nil {
		return nil
	}
	return &mount.TmpfsOptions{SizeBytes: int64(tmpfs.Size), Mode: fs.FileMode(tmpfs.Mode)}
}

// parseTmpfs reads an entry of `tmpfs:`, a path and perhaps options:
// /run:size=64m,mode=1777.
func parseTmpfs(text string) (mount.Mount, error) {
	target, list, _ := strings.Cut(text, ":")
	m := mount.Mount{Type: mount.TypeTmpfs, Target: target}
	if !strings.HasPrefix(target, "/") {
		return m, fmt.Errorf("%q is not an absolute path", target)
	}
	if list == "" {
		return m, nil
	}
	m.TmpfsOptions = &mount.TmpfsOptions{}
	for option := range strings.SplitSeq(list, ",") {
		if err := setTmpfs(&m, option); err != nil {
			return m, err
		}
	}
	return m, nil
}

func setTmpfs(m *mount.Mount, option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "ro":
		m.ReadOnly = true
	case "rw":
	case "size":
		size, err := units.RAMInBytes(value)
		if err != nil {
			return fmt.Errorf("%q is not a size like size=64m", option)
		}
		m.TmpfsOptions.SizeBytes = size
	case "mode":
		mode, err := strconv.ParseUint(value, 8, 12)
		if err != nil {
			return fmt.Errorf("%q is not a mode like mode=1777", option)
		}
		m.TmpfsOptions.Mode = fs.FileMode(mode)
	default:
		return fmt.Errorf("the tmpfs option %q is not in Swarm: use size, mode, ro or rw", name)
	}
	return nil
}
