package compose

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/configs/document"
)

// rules say what becomes of the keys that Compose has at one place. Keys that Compose itself does
// not have are not listed.
type rules map[string]rule

// rule honours a key, whose values are of a kind, or says why it is refused.
type rule struct {
	is      kind
	refused string
}

// Reasons that several keys share.
const (
	notInSwarm  = "Swarm has no such setting; remove it"
	hostNetwork = "crawlbox services use the host's network; remove it"
	ownOrder    = "Swarm does not order services; remove it, and let the program wait for what it needs"
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
var composeRefused = map[string]string{
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
	"build":             {is: buildOf},
	"cap_add":           {is: texts},
	"cap_drop":          {is: texts},
	"command":           {is: command},
	"deploy":            {is: mappingOrNone},
	"dns":               {is: addresses},
	"dns_opt":           {is: texts},
	"dns_search":        {is: oneOrTexts},
	"entrypoint":        {is: command},
	"env_file":          {is: envFiles},
	"environment":       {is: environ},
	"extra_hosts":       {is: hosts},
	"group_add":         {is: groups},
	"healthcheck":       {is: mapping},
	"hostname":          {is: templated},
	"image":             {is: imageName},
	"init":              {is: boolean},
	"labels":            {is: labels},
	"logging":           {is: mapping},
	"network_mode":      {is: hostOnly},
	"networks":          {is: networkNames},
	"read_only":         {is: boolean},
	"scale":             {is: replicas},
	"stdin_open":        {is: boolean},
	"stop_grace_period": {is: duration},
	"stop_signal":       {is: text},
	"sysctls":           {is: pairs},
	"tmpfs":             {is: tmpfsList},
	"tty":               {is: boolean},
	"ulimits":           {is: ulimits},
	"user":              {is: text},
	"volumes":           {is: listOf(mount)},
	"working_dir":       {is: absolute},

	"annotations":         {refused: notInSwarm},
	"attach":              {refused: "it is for `docker compose up`; remove it"},
	"blkio_config":        {refused: cgroupsOnly},
	"cgroup":              {refused: cgroupsOnly},
	"cgroup_parent":       {refused: cgroupsOnly},
	"configs":             {refused: noSecrets},
	"container_name":      {refused: "Swarm names tasks itself; remove it"},
	"cpu_count":           {refused: windowsOnly},
	"cpu_percent":         {refused: windowsOnly},
	"cpu_period":          {refused: cgroupsOnly},
	"cpu_quota":           {refused: cgroupsOnly},
	"cpu_rt_period":       {refused: cgroupsOnly},
	"cpu_rt_runtime":      {refused: cgroupsOnly},
	"cpu_shares":          {refused: cgroupsOnly},
	"cpus":                {refused: "write it as deploy.resources.limits.cpus"},
	"cpuset":              {refused: cgroupsOnly},
	"credential_spec":     {refused: windowsOnly},
	"depends_on":          {refused: ownOrder},
	"develop":             {refused: "it is for `docker compose watch`; remove it"},
	"device_cgroup_rules": {refused: noDevices},
	"devices":             {refused: noDevices},
	"dockerfile":          {refused: "write it as build.dockerfile"},
	"domainname":          {refused: notInSwarm},
	"expose":              {refused: hostNetwork},
	"extends":             {refused: "crawlbox reads one file; use a YAML anchor and `<<`"},
	"external_links":      {refused: "Swarm has no links; use the service's name on a shared network"},
	"gpus":                {refused: noDevices},
	"ipc":                 {refused: "Swarm gives each container its own; remove it"},
	"isolation":           {refused: windowsOnly},
	"label_file":          {refused: "write the labels below labels"},
	"links":               {refused: "Swarm has no links; use the service's name on a shared network"},
	"log_driver":          {refused: "write it as logging.driver"},
	"log_opt":             {refused: "write it as logging.options"},
	"mac_address":         {refused: notInSwarm},
	"mem_limit":           {refused: "write it as deploy.resources.limits.memory"},
	"mem_reservation":     {refused: "write it as deploy.resources.reservations.memory"},
	"mem_swappiness":      {refused: cgroupsOnly},
	"memswap_limit":       {refused: cgroupsOnly},
	"models":              {refused: "crawlbox runs no models; remove it"},
	"name":                {refused: "the key above is the name; remove it"},
	"net":                 {refused: "write it as network_mode"},
	"oom_kill_disable":    {refused: cgroupsOnly},
	"oom_score_adj":       {refused: newEngine},
	"pid":                 {refused: "Swarm gives each container its own; remove it"},
	"pids_limit":          {refused: "write it as deploy.resources.limits.pids"},
	"platform":            {refused: "use a placement constraint on node.platform.arch"},
	"ports":               {refused: "crawlbox services use the host's network; remove ports"},
	"post_start":          {refused: noHooks},
	"pre_start":           {refused: noHooks},
	"pre_stop":            {refused: noHooks},
	"privileged":          {refused: "Swarm runs no privileged containers; use cap_add"},
	"profiles":            {refused: "crawlbox runs all services of the file; use `scale: 0`"},
	"provider":            {refused: "crawlbox runs containers only; remove it"},
	"pull_policy":         {refused: "crawlbox puts images on the nodes itself; remove it"},
	"pull_refresh_after":  {refused: "crawlbox puts images on the nodes itself; remove it"},
	"restart":             {refused: "use deploy.restart_policy"},
	"runtime":             {refused: notInSwarm},
	"secrets":             {refused: noSecrets},
	"security_opt":        {refused: newEngine},
	"shm_size":            {refused: "Swarm has no such setting; mount a tmpfs at /dev/shm"},
	"storage_opt":         {refused: notInSwarm},
	"umask":               {refused: "Swarm has no such setting; call umask in the entrypoint"},
	"use_api_socket":      {refused: "bind /run/docker.sock below volumes"},
	"userns_mode":         {refused: notInSwarm},
	"uts":                 {refused: "Swarm gives each container its own; remove it"},
	"volume_driver":       {refused: "set the driver below the top-level volumes"},
	"volumes_from":        {refused: "Swarm does not know other containers' volumes; use a named volume"},
}

// nestedRules cover what lies below the keys of a service; * stands for each
// item.
var nestedRules = map[string]rules{
	"build": {
		"args":                {is: pairs},
		"context":             {is: text},
		"dockerfile":          {is: text},
		"no_cache":            {is: boolean},
		"platforms":           {is: texts},
		"pull":                {is: boolean},
		"secrets":             {is: listOf(buildSecret)},
		"target":              {is: text},
		"additional_contexts": {refused: "copy the files into the directory of the context"},
		"cache_from":          {refused: keptCache},
		"cache_to":            {refused: keptCache},
		"entitlements":        {refused: inBuild},
		"extra_hosts":         {refused: inBuild},
		"labels":              {refused: inBuild},
		"network":             {refused: "builds use the host's network; remove it"},
		"no_cache_filter":     {refused: inBuild},
		"privileged":          {refused: inBuild},
		"provenance":          {refused: inBuild},
		"sbom":                {refused: inBuild},
		"shm_size":            {refused: inBuild},
		"ssh":                 {refused: "builds get no SSH agent; give the key as one of build.secrets"},
		"ulimits":             {refused: inBuild},
		"dockerfile_inline":   {refused: "write it to a file and name that with dockerfile"},
		"isolation":           {refused: windowsOnly},
		"tags":                {refused: "an image has one tag: the next one, or that of image:"},
	},
	"build.secrets.*": {
		"source": {is: text},
		"target": {is: text},
		"gid":    {refused: inBuild},
		"mode":   {refused: inBuild},
		"uid":    {refused: inBuild},
	},
	"deploy": {
		"endpoint_mode":   {is: oneOf("vip", "dnsrr")},
		"labels":          {is: labels},
		"mode":            {is: oneOf(ModeReplicated, ModeGlobal, ModeReplicatedJob, ModeGlobalJob)},
		"placement":       {is: mapping},
		"replicas":        {is: replicas},
		"resources":       {is: mapping},
		"restart_policy":  {is: mapping},
		"rollback_config": {is: mapping},
		"update_config":   {is: mapping},
	},
	"deploy.placement": {
		"constraints":           {is: listOf(constraint)},
		"max_replicas_per_node": {is: count},
		"preferences":           {is: listOf(preference)},
	},
	"deploy.placement.preferences.*": {"spread": {is: text}},
	"deploy.resources":               {"limits": {is: mapping}, "reservations": {is: mapping}},
	"deploy.resources.limits": {
		"cpus":              {is: processors(bound.LeastCPUs)},
		"memory":            {is: memory(bound.LeastMemory, "Docker")},
		"pids":              {is: count},
		"devices":           {refused: noDevices},
		"generic_resources": {refused: "only a reservation can have it"},
	},
	"deploy.resources.reservations": {
		"cpus":              {is: processors(0.001)},
		"memory":            {is: memory(bound.LeastReserved, "Swarm")},
		"pids":              {refused: "only limits can have it"},
		"devices":           {refused: noDevices},
		"generic_resources": {refused: "crawlbox's nodes announce no generic resources; use a placement constraint"},
	},
	"deploy.restart_policy": {
		"condition":    {is: oneOf("none", "on-failure", "any")},
		"delay":        {is: duration},
		"max_attempts": {is: count},
		"window":       {is: duration},
	},
	"deploy.update_config":   updateRules("pause", "continue", "rollback"),
	"deploy.rollback_config": updateRules("pause", "continue"),
	"env_file.*": {
		"path":     {is: text},
		"required": {is: boolean},
		"format":   {refused: "crawlbox reads Compose's format only"},
	},
	"healthcheck": {
		"disable":        {is: boolean},
		"interval":       {is: pause},
		"retries":        {is: count},
		"start_period":   {is: pause},
		"test":           {is: healthTest},
		"timeout":        {is: pause},
		"start_interval": {refused: newEngine},
	},
	"logging": {"driver": {is: text}, "options": {is: options}},
	"networks.*": {
		"aliases":                {is: texts},
		"driver_opts":            {is: options},
		"gw_priority":            {refused: notInSwarm},
		"interface_name":         {refused: notInSwarm},
		"ipv4_address":           {refused: notInSwarm},
		"ipv6_address":           {refused: notInSwarm},
		"link_local_ips":         {refused: notInSwarm},
		"mac_address":            {refused: notInSwarm},
		"priority":               {refused: notInSwarm},
		"use_service_name_alias": {refused: notInSwarm},
	},
	"ulimits.*": {"hard": {is: limit}, "single": {refused: "write the number itself"}, "soft": {is: limit}},
	"volumes.*": {
		"bind":        {is: mapping},
		"read_only":   {is: boolean},
		"source":      {is: templated},
		"target":      {is: templated},
		"tmpfs":       {is: mapping},
		"type":        {is: oneOf(types.VolumeTypeBind, types.VolumeTypeVolume, types.VolumeTypeTmpfs)},
		"volume":      {is: mapping},
		"consistency": {refused: "it is for Docker Desktop; remove it"},
		"image":       {refused: newEngine},
	},
	"volumes.*.bind": {
		"propagation":      {is: oneOf(format.Propagations...)},
		"recursive":        {refused: newEngine},
		"selinux":          {refused: notInSwarm},
		"create_host_path": {refused: "Swarm does not create it; make the directory on every node and remove this key"},
	},
	"volumes.*.tmpfs":  {"mode": {is: permissions}, "size": {is: byteSize}},
	"volumes.*.volume": {"labels": {is: uniquePairs}, "nocopy": {is: boolean}, "subpath": {refused: newEngine}},
}

func updateRules(failureActions ...string) rules {
	return rules{
		"delay":             {is: duration},
		"failure_action":    {is: oneOf(failureActions...)},
		"max_failure_ratio": {is: ratio},
		"monitor":           {is: duration},
		"order":             {is: oneOf("start-first", "stop-first")},
		"parallelism":       {is: count},
	}
}

var networkRules = rules{
	"external":    {is: external},
	"name":        {is: text},
	"attachable":  {refused: createFirst},
	"driver":      {refused: createFirst},
	"driver_opts": {refused: createFirst},
	"enable_ipv4": {refused: createFirst},
	"enable_ipv6": {refused: createFirst},
	"internal":    {refused: createFirst},
	"ipam":        {refused: createFirst},
	"labels":      {refused: createFirst},
}

// secretRules are for the secrets of builds; services have none.
var secretRules = rules{
	"environment":     {is: text},
	"file":            {is: text},
	"name":            {refused: noSecrets},
	"driver":          {refused: noSecrets},
	"driver_opts":     {refused: noSecrets},
	"external":        {refused: noSecrets},
	"labels":          {refused: noSecrets},
	"template_driver": {refused: noSecrets},
	"content":         {refused: "name a file or an environment variable instead"},
}

var volumeRules = rules{
	"driver":      {is: text},
	"driver_opts": {is: options},
	"external":    {is: external},
	"labels":      {is: labels},
	"name":        {is: text},
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
		p.Addf(e.Line, "%s: must be a mapping, not %s", reservedKey, document.What(e.Value))
	}
	for _, child := range document.Entries(e.Value) {
		p.Addf(child.Line, "unknown key %q: crawlbox has no extensions of Compose", reservedKey+"."+child.Name)
	}
}
