package compose

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// yamlKeys returns the keys of a struct of compose-go.
func yamlKeys(typ reflect.Type) []string {
	var names []string
	for field := range fields(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case name == "" && field.Anonymous:
			names = append(names, yamlKeys(field.Type)...)
		case name != "" && name != "-" && !strings.HasPrefix(name, "#"):
			names = append(names, name)
		}
	}
	return names
}

func fields(typ reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range typ.NumField() {
			if !yield(typ.Field(i)) {
				return
			}
		}
	}
}

// A key that a later compose-go brings must be honoured or refused, not dropped.
func TestRules_CoverCompose(t *testing.T) {
	t.Parallel()
	places := map[string]reflect.Type{
		"build":                          reflect.TypeFor[types.BuildConfig](),
		"build.secrets.*":                reflect.TypeFor[types.ServiceSecretConfig](),
		"deploy":                         reflect.TypeFor[types.DeployConfig](),
		"deploy.placement":               reflect.TypeFor[types.Placement](),
		"deploy.placement.preferences.*": reflect.TypeFor[types.PlacementPreferences](),
		"deploy.resources":               reflect.TypeFor[types.Resources](),
		"deploy.resources.limits":        reflect.TypeFor[types.Resource](),
		"deploy.resources.reservations":  reflect.TypeFor[types.Resource](),
		"deploy.restart_policy":          reflect.TypeFor[types.RestartPolicy](),
		"deploy.update_config":           reflect.TypeFor[types.UpdateConfig](),
		"deploy.rollback_config":         reflect.TypeFor[types.UpdateConfig](),
		"env_file.*":                     reflect.TypeFor[types.EnvFile](),
		"healthcheck":                    reflect.TypeFor[types.HealthCheckConfig](),
		"logging":                        reflect.TypeFor[types.LoggingConfig](),
		"networks.*":                     reflect.TypeFor[types.ServiceNetworkConfig](),
		"ulimits.*":                      reflect.TypeFor[types.UlimitsConfig](),
		"volumes.*":                      reflect.TypeFor[types.ServiceVolumeConfig](),
		"volumes.*.bind":                 reflect.TypeFor[types.ServiceVolumeBind](),
		"volumes.*.tmpfs":                reflect.TypeFor[types.ServiceVolumeTmpfs](),
		"volumes.*.volume":               reflect.TypeFor[types.ServiceVolumeVolume](),
	}
	sameKeys(t, "services", serviceRules, reflect.TypeFor[types.ServiceConfig]())
	sameKeys(t, "networks", networkRules, reflect.TypeFor[types.NetworkConfig]())
	sameKeys(t, "volumes", volumeRules, reflect.TypeFor[types.VolumeConfig]())
	sameKeys(t, "secrets", secretRules, reflect.TypeFor[types.SecretConfig]())
	for place, known := range nestedRules {
		typ, ok := places[place]
		if !ok {
			t.Errorf("%s is not compared with compose-go", place)
			continue
		}
		sameKeys(t, place, known, typ)
	}
}

func sameKeys(t *testing.T, place string, known rules, typ reflect.Type) {
	t.Helper()
	theirs := yamlKeys(typ)
	for _, name := range theirs {
		if _, ok := known[name]; !ok {
			t.Errorf("%s: compose-go has %s: honour it, or refuse it with a reason", place, name)
		}
	}
	for name := range known {
		if !slices.Contains(theirs, name) {
			t.Errorf("%s: compose-go has no %s", place, name)
		}
	}
}
