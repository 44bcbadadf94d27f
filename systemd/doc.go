// Package systemd makes the units that run crawlbox on a machine with systemd.
//
//	crawlbox.service   the node: told by the node itself how it is, see systemd/notify
//	crawlbox.slice     its share of processors and disks, beside that of the containers
//	crawlbox.target    at boot: the node, and the Docker Engine
//	crawlbox-upgrade.service
//	                   beside the node, while it is being upgraded
//
// The units are templates; [Unit.Files] renders them, and knows nothing of the
// machine. Each begins with a seal, a checksum of all that follows, by which
// [IsOurs] tells a unit as it was written from one that a person has edited since:
// such a unit is the person's, and is kept.
//
// Docker is wanted by crawlbox.target and not by crawlbox.service. What a unit
// wants is started with each start of it, also when systemd restarts it after a
// crash: that would wake a Docker Engine that an operator has put to sleep.
//
// systemd/install acts on a machine, systemd/notify and systemd/journal are for
// the process that systemd runs.
package systemd
