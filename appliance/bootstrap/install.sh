# Brings crawlbox from its manager onto this machine, and makes it a node. It is run in a
# directory of its own that has ca.pem, the CA of the cluster, which was checked, and auth,
# the header with the join token. No program is run before its checksum fits.
set -eu

fail() {
	echo "crawlbox: $*" >&2
	exit 1
}

main() {
	role={{quote .Role}} machine={{quote .Machine}} sum={{quote .SHA256}}
	[ "$(id -u)" = 0 ] || fail "needs root; run the line as root"
	[ "$(uname -s)" = Linux ] && [ "$(uname -m)" = "$machine" ] ||
		fail "this machine is $(uname -s) on $(uname -m) and the manager has crawlbox for Linux on $machine; copy the right one here and run \`crawlbox install $role --join TOKEN\`"
	echo "fetching crawlbox "{{quote .Version}}
	curl -fsS --connect-timeout 20 --max-time 1800 --cacert ca.pem -H @auth -o crawlbox {{quote .URL}} ||
		fail "the program did not come from the manager; run the same line again"
	echo "$sum  crawlbox" | sha256sum -c - >/dev/null 2>&1 ||
		fail "what came from the manager has another checksum than it says; nothing was run, run the same line again"
	chmod 755 crawlbox
	if [ ! -d /run/systemd/system ]; then
		install -D -m 755 crawlbox /usr/local/bin/crawlbox
		fail "it lies in /usr/local/bin, but systemd does not run this machine; let its own init system run \`crawlbox $role --join TOKEN\`"
	fi
	./crawlbox version >/dev/null 2>&1 </dev/null ||
		fail "no program can be run in $PWD, as where /tmp is mounted noexec; run \`export TMPDIR=/root\` and the same line again"
	sed -n 's/^Authorization: Bearer //p' auth | ./crawlbox install "$role" --join-file - "$@"
}

main "$@"
