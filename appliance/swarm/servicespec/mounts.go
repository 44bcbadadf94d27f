package servicespec

import (
	"io/fs"
	"maps"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/mount"

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
		m, err := tmpfsMount(text)
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

func tmpfsMount(text string) (mount.Mount, error) {
	t, err := compose.ParseTmpfs(text)
	m := mount.Mount{Type: mount.TypeTmpfs, Target: t.Target, ReadOnly: t.ReadOnly}
	if t.Options {
		m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: t.Size, Mode: fs.FileMode(t.Mode)}
	}
	return m, err
}
