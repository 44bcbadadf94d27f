"""Strangers who take connections and give nothing: they connect and are silent,
send a byte of TLS's first message a second, or speak TLS and send a byte of an
HTTP header a second. A connection that is closed is opened again. How it goes is
printed as JSON, a line every half second, until the program is killed."""
import collections, json, select, socket, ssl, sys, time

target, ports, slots, sources = sys.argv[1], list(map(int, sys.argv[2].split(","))), int(sys.argv[3]), sys.argv[4].split(",")
PAUSE = 1  # seconds before a connection that was closed is opened again
SILENT, HELLO, HEADER = range(3)

try:  # strangers bring processors of their own; here they shall not take the manager's
    with open("/proc/self/autogroup", "w") as f:
        f.write("19")
except OSError:
    pass  # then nice(1) is enough

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


def hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


messages = {HELLO: hello(), HEADER: b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 4096}
poll = select.epoll()
polled = {}  # by file number
again = collections.deque()  # (when, slot), the soonest first
been, opened = 0, [0, 0, 0]


class Slot:
    """A place at the manager's that a stranger wants to have."""

    def __init__(self, port, source, kind):
        self.port, self.source, self.kind, self.been = port, source, kind, False

    def open(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.connected, self.speaks, self.sent = False, self.kind != HEADER, 0
        polled[self.sock.fileno()] = self
        poll.register(self.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
        try:
            self.sock.bind((self.source, 0))
            self.sock.connect((target, self.port))
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def close(self):
        del polled[self.sock.fileno()]
        self.sock.close()
        again.append((time.monotonic() + PAUSE, self))

    def event(self, what):
        if what & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            return self.close()
        if not self.connected:
            self.connected = True
            self.count()
            if self.kind == HEADER:
                self.sock = context.wrap_socket(self.sock, do_handshake_on_connect=False)
        if not self.speaks:
            try:
                self.sock.do_handshake()
                self.speaks = True
            except ssl.SSLWantReadError:
                pass
            except OSError:
                self.close()

    def count(self):
        global been
        been += not self.been
        self.been = True
        opened[self.kind] += 1

    def trickle(self):
        if self.kind == SILENT or not self.connected or not self.speaks:
            return
        message = messages[self.kind]
        try:
            self.sock.send(message[self.sent % len(message)].to_bytes(1, "big"))
            self.sent += 1
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.close()


def report():
    held = collections.Counter(s.kind for s in polled.values() if s.connected and s.speaks)
    print(json.dumps({"slots": slots * len(ports), "been": been, "open": [held[k] for k in range(3)], "opened": opened}), flush=True)


# Who trickles has addresses of his own: he would give way to the silent ones.
for i in range(slots):
    for port in ports:
        again.append((0, Slot(port, sources[i % len(sources)], i % len(sources) % 3)))
trickled = reported = 0
while True:
    now = time.monotonic()
    for _ in range(200):  # and then a look at those that are open
        if not again or again[0][0] > now:
            break
        again.popleft()[1].open()
    for number, what in poll.poll(0 if again and again[0][0] <= now else 0.05):
        if number in polled:
            polled[number].event(what)
    if now - trickled >= 1:
        trickled = now
        for slot in list(polled.values()):
            slot.trickle()
    if now - reported >= 0.5:
        reported = now
        report()
