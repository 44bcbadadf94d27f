package compose

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/configs/document"
)

// rules say what becomes of the keys that Compose has at one place: an empty
// text means honoured, any other is the reason why the key is refused. Keys that
// Compose itself does not have are not listed.
type rules map[string]string

// Reasons that several keys share.
const (
	notInSwarm  = "Swarm has no such setting; remove it"
	hostNetwork = "crawlbox services use the host's network; remove it"
	ownOrder    = "Swarm does not order services; let the program wait for what it needs"
	useLimits   = "set it below deploy.resources"
	cgroupsOnly = "Swarm does not pass it on; use deploy.resources for limits"
	windowsOnly = "it is for Windows containers; crawlbox runs Linux"
	newEngine   = "Docker Engine 20.10, which crawlbox still supports, would silently ignore it"
	noDevices   = "Swarm gives containers no devices; remove it"
	noHooks     = "Swarm runs no hooks; do it in the entrypoint"
	inBuild     = "crawlbox builds without it; do it in the Dockerfile"
	keptCache   = "the manager's Docker keeps the cache of earlier builds itself; remove it"
	noSecrets   = "crawlbox does not manage Swarm's secrets and configs; use env_file, or bind a file"
	createFirst = "crawlbox does not create networks; run `docker network create -d overlay NAME` and mark it " +
		"`external: true`"
)

// composeRefused are top-level keys of Compose that crawlbox has no use for.
var composeRefused = rules{
	"version": "it is obsolete in Compose too; remove it",
	"name":    "crawlbox has no projects, services have the names they are given; remove it",
	"include": "crawlbox reads one file; copy the services into it",
	"configs": noSecrets,
	"models":  "crawlbox runs no models; remove it",
	"jobs":    "write it as a service with `deploy: {mode: replicated-job}`",
}

// TakesKey reports whether a top-level key is Compose's and no setting, and
// reports those that crawlbox has no use for.
func TakesKey(e document.Entry, p *document.Problems) bool {
	switch {
	case isExtension(e.Name):
	case e.Name == "services" || e.Name == "networks" || e.Name == "volumes" || e.Name == "secrets":
	case e.Name == reservedKey:
		checkReserved(e, p)
	case composeRefused[e.Name] != "":
		p.Addf(e.Line, "%s: %s", e.Name, composeRefused[e.Name])
	default:
		return false
	}
	return true
}

// serviceRules cover every key that compose-go knows of a service, which a test
// holds: what a later Compose adds is thought about, not dropped.
var serviceRules = rules{
	"build":             "",
	"cap_add":           "",
	"cap_drop":          "",
	"command":           "",
	"deploy":            "",
	"dns":               "",
	"dns_opt":           "",
	"dns_search":        "",
	"entrypoint":        "",
	"env_file":          "",
	"environment":       "",
	"extra_hosts":       "",
	"group_add":         "",
	"healthcheck":       "",
	"hostname":          "",
	"image":             "",
	"init":              "",
	"labels":            "",
	"logging":           "",
	"network_mode":      "",
	"networks":          "",
	"read_only":         "",
	"scale":             "",
	"stdin_open":        "",
	"stop_grace_period": "",
	"stop_signal":       "",
	"sysctls":           "",
	"tmpfs":             "",
	"tty":               "",
	"ulimits":           "",
	"user":              "",
	"volumes":           "",
	"working_dir":       "",

	"annotations":         notInSwarm,
	"attach":              "it is for `docker compose up`; remove it",
	"blkio_config":        cgroupsOnly,
	"cgroup":              cgroupsOnly,
	"cgroup_parent":       cgroupsOnly,
	"configs":             noSecrets,
	"container_name":      "Swarm names tasks itself; remove it",
	"cpu_count":           windowsOnly,
	"cpu_percent":         windowsOnly,
	"cpu_period":          cgroupsOnly,
	"cpu_quota":           cgroupsOnly,
	"cpu_rt_period":       cgroupsOnly,
	"cpu_rt_runtime":      cgroupsOnly,
	"cpu_shares":          cgroupsOnly,
	"cpus":                useLimits,
	"cpuset":              cgroupsOnly,
	"credential_spec":     windowsOnly,
	"depends_on":          ownOrder,
	"develop":             "it is for `docker compose watch`; remove it",
	"device_cgroup_rules": noDevices,
	"devices":             noDevices,
	"dockerfile":          "write it as build.dockerfile",
	"domainname":          notInSwarm,
	"expose":              hostNetwork,
	"extends":             "crawlbox reads one file; use a YAML anchor and `<<`",
	"external_links":      "Swarm has no links; use the service's name on a shared network",
	"gpus":                noDevices,
	"ipc":                 "Swarm gives each container its own; remove it",
	"isolation":           windowsOnly,
	"label_file":          "write the labels below labels",
	"links":               "Swarm has no links; use the service's name on a shared network",
	"log_driver":          "write it as logging.driver",
	"log_opt":             "write it as logging.options",
	"mac_address":         notInSwarm,
	"mem_limit":           useLimits,
	"mem_reservation":     useLimits,
	"mem_swappiness":      cgroupsOnly,
	"memswap_limit":       cgroupsOnly,
	"models":              "crawlbox runs no models; remove it",
	"name":                "the key above is the name; remove it",
	"net":                 "write it as network_mode",
	"oom_kill_disable":    cgroupsOnly,
	"oom_score_adj":       newEngine,
	"pid":                 "Swarm gives each container its own; remove it",
	"pids_limit":          useLimits,
	"platform":            "use a placement constraint on node.platform.arch",
	"ports":               "crawlbox services use the host's network; remove ports",
	"post_start":          noHooks,
	"pre_start":           noHooks,
	"pre_stop":            noHooks,
	"privileged":          "Swarm runs no privileged containers; use cap_add",
	"profiles":            "crawlbox runs all services of the file; use `scale: 0`",
	"provider":            "crawlbox runs containers only; remove it",
	"pull_policy":         "crawlbox puts images on the nodes itself; remove it",
	"pull_refresh_after":  "crawlbox puts images on the nodes itself; remove it",
	"restart":             "use deploy.restart_policy",
	"runtime":             notInSwarm,
	"secrets":             noSecrets,
	"security_opt":        newEngine,
	"shm_size":            "Swarm has no such setting; mount a tmpfs at /dev/shm",
	"storage_opt":         notInSwarm,
	"umask":               "Swarm has no such setting; call umask in the entrypoint",
	"use_api_socket":      "bind /run/docker.sock below volumes",
	"userns_mode":         notInSwarm,
	"uts":                 "Swarm gives each container its own; remove it",
	"volume_driver":       "set the driver below the top-level volumes",
	"volumes_from":        "Swarm does not know other containers' volumes; use a named volume",
}

// nestedRules cover what lies below the keys of a service; * stands for each
// item. Places that are not listed are left to Compose's own schema.
var nestedRules = map[string]rules{
	"build": {
		"args":                "",
		"context":             "",
		"dockerfile":          "",
		"no_cache":            "",
		"platforms":           "",
		"pull":                "",
		"secrets":             "",
		"target":              "",
		"additional_contexts": "copy the files into the directory of the context",
		"cache_from":          keptCache,
		"cache_to":            keptCache,
		"entitlements":        inBuild,
		"extra_hosts":         inBuild,
		"labels":              inBuild,
		"network":             "builds use the host's network; remove it",
		"no_cache_filter":     inBuild,
		"privileged":          inBuild,
		"provenance":          inBuild,
		"sbom":                inBuild,
		"shm_size":            inBuild,
		"ssh":                 "builds get no SSH agent; give the key as one of build.secrets",
		"ulimits":             inBuild,
		"dockerfile_inline":   "write it to a file and name that with dockerfile",
		"isolation":           windowsOnly,
		"tags":                "an image has one tag: the next one, or that of image:",
	},
	"build.secrets.*": {
		"source": "",
		"target": "",
		"gid":    inBuild,
		"mode":   inBuild,
		"uid":    inBuild,
	},
	"deploy": {
		"endpoint_mode":   "",
		"labels":          "",
		"mode":            "",
		"placement":       "",
		"replicas":        "",
		"resources":       "",
		"restart_policy":  "",
		"rollback_config": "",
		"update_config":   "",
	},
	"deploy.placement":               {"constraints": "", "max_replicas_per_node": "", "preferences": ""},
	"deploy.placement.preferences.*": {"spread": ""},
	"deploy.resources":               {"limits": "", "reservations": ""},
	"deploy.resources.limits": {
		"cpus":              "",
		"memory":            "",
		"pids":              "",
		"devices":           noDevices,
		"generic_resources": "only a reservation can have it",
	},
	"deploy.resources.reservations": {
		"cpus":              "",
		"memory":            "",
		"pids":              "only limits can have it",
		"devices":           noDevices,
		"generic_resources": "crawlbox's nodes announce no generic resources; use a placement constraint",
	},
	"deploy.restart_policy":  {"condition": "", "delay": "", "max_attempts": "", "window": ""},
	"deploy.update_config":   updateRules,
	"deploy.rollback_config": updateRules,
	"env_file.*":             {"path": "", "required": "", "format": "crawlbox reads Compose's format only"},
	"healthcheck": {
		"disable":        "",
		"interval":       "",
		"retries":        "",
		"start_period":   "",
		"test":           "",
		"timeout":        "",
		"start_interval": newEngine,
	},
	"logging": {"driver": "", "options": ""},
	"networks.*": {
		"aliases":                "",
		"driver_opts":            "",
		"gw_priority":            notInSwarm,
		"interface_name":         notInSwarm,
		"ipv4_address":           notInSwarm,
		"ipv6_address":           notInSwarm,
		"link_local_ips":         notInSwarm,
		"mac_address":            notInSwarm,
		"priority":               notInSwarm,
		"use_service_name_alias": notInSwarm,
	},
	"ulimits.*": {"hard": "", "single": "write the number itself", "soft": ""},
	"volumes.*": {
		"bind":        "",
		"read_only":   "",
		"source":      "",
		"target":      "",
		"tmpfs":       "",
		"type":        "",
		"volume":      "",
		"consistency": "it is for Docker Desktop; remove it",
		"image":       newEngine,
	},
	"volumes.*.bind": {
		"propagation": "", "recursive": newEngine, "selinux": notInSwarm,
		"create_host_path": "Swarm does not create it; make the directory on every node and remove this key",
	},
	"volumes.*.tmpfs":  {"mode": "", "size": ""},
	"volumes.*.volume": {"labels": "", "nocopy": "", "subpath": newEngine},
}

var updateRules = rules{
	"delay":             "",
	"failure_action":    "",
	"max_failure_ratio": "",
	"monitor":           "",
	"order":             "",
	"parallelism":       "",
}

var networkRules = rules{
	"external":    "",
	"name":        "",
	"attachable":  createFirst,
	"driver":      createFirst,
	"driver_opts": createFirst,
	"enable_ipv4": createFirst,
	"enable_ipv6": createFirst,
	"internal":    createFirst,
	"ipam":        createFirst,
	"labels":      createFirst,
}

// secretRules are for the secrets of builds; services have none.
var secretRules = rules{
	"environment":     "",
	"file":            "",
	"name":            noSecrets,
	"driver":          noSecrets,
	"driver_opts":     noSecrets,
	"external":        noSecrets,
	"labels":          noSecrets,
	"template_driver": noSecrets,
	"content":         "name a file or an environment variable instead",
}

var volumeRules = rules{
	"driver":      "",
	"driver_opts": "",
	"external":    "",
	"labels":      "",
	"name":        "",
}

// isExtension reports whether a key is a fragment that Compose leaves to its
// users. x-crawlbox is crawlbox's own, and reserved.
func isExtension(name string) bool {
	return strings.HasPrefix(name, "x-") && name != reservedKey
}

// reservedKey is where what Compose lacks goes.
const reservedKey = "x-crawlbox"

func checkReserved(e document.Entry, p *document.Problems) {
	if document.IsNull(e.Value) {
		return
	}
	if e.Value.Kind != yaml.MappingNode {
		p.Addf(e.Line, "%s is a mapping", reservedKey)
	}
	for _, child := range document.Entries(e.Value) {
		p.Addf(child.Line, "unknown key %q: crawlbox has no extensions of Compose", reservedKey+"."+child.Name)
	}
}
