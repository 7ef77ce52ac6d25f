#!/usr/bin/env python3
"""A check of your own for rs-agent: finds words in mail. Written from shared/README.md alone; needs pyzmq and msgpack.
A policy names it: checks: { dlp: { settings: { words: [secret] } } }. Start any number of it on the dispatchers' host:
BUS_DISPATCHERS=tcp://127.0.0.1:7001 python3 worker.py"""
import email, hashlib, os, secrets, signal, time
import msgpack, zmq

KIND = os.environ.get("CHECK", "dlp")
NAME = os.environ.get("ACTOR_ID", f"{KIND}-{os.uname().nodename}-{os.getpid()}")
INCARNATION, ENGINE, TASKS, MIB = secrets.token_hex(16), {"name": "words", "version": "1"}, 4, 1024 * 1024

def find(mail, settings):
    """The check itself: settings are those of the policy, what is returned is the verdict."""
    parts = [part.get_payload(decode=True) or b"" for part in email.message_from_bytes(mail).walk()]
    text = b"\n".join([mail[:65536], *parts]).decode("utf-8", "replace").lower()
    labels = [str(word)[:256] for word in settings.get("words", []) if str(word).lower() in text]
    return {"kind": "found", "labels": labels[:100]} if labels else {"kind": "passed"}

class Link:
    """One dispatcher: our connection to it, and the session that it has opened by its first heartbeat."""
    def __init__(self, endpoint):
        self.endpoint, self.push = endpoint, None
        self.greet()

    def greet(self):
        self.push and self.push.close(linger=0)
        self.push = context.socket(zmq.PUSH)
        self.push.setsockopt(zmq.IMMEDIATE, 1)
        self.push.connect(self.endpoint)
        self.link, self.heard_at, self.said, self.session = secrets.token_hex(16), time.monotonic(), False, None

    def send(self, **head):
        try:
            self.push.send(msgpack.packb({"v": 1, "from": NAME, **head}), zmq.NOBLOCK)
            return True
        except zmq.Again:  # nobody is there: a dispatcher that misses us gives the mail to others
            return False

    def open(self, session):
        self.session, self.beat, self.heard, self.seen, self.wants, self.granted = session, 0, 0, 0, False, None
        self.tell()

    def tell(self):
        """A heartbeat: what we grant and what has come; and that the dispatcher has us to itself where it wants that."""
        sole = next((link for link in links if link.session and link.wants), None)
        tasks = 0 if leaving or sole not in (None, self) else TASKS
        self.beat += 1
        if tasks != self.granted:
            self.granted, self.granted_at = tasks, self.beat
        others = [link for link in links if link.session and link is not self]
        alone = sole is self and all(link.granted == 0 and link.heard >= link.granted_at for link in others)
        self.send(kind="heartbeat", session=self.session, incarnation=INCARNATION, beat=self.beat, engine=ENGINE,
                  credit={"tasks": tasks, "bytes": 64 * MIB}, lastSeen=self.seen, lastDone=self.seen,
                  **({"sole": True} if alone else {}))

    def work(self, head, mail):
        self.seen, began = head["sequence"], time.monotonic()
        self.wants = self.wants and not head.get("alone")
        self.send(kind="started", session=self.session, sequence=self.seen)
        len(mail) > MIB and self.tell()  # at once: only one such frame may be on its way
        try:
            assert hashlib.sha256(mail).hexdigest() == head["sha256"], "other bytes than the task says"
            output = find(mail, head["settings"])
        except Exception as error:  # an error is an answer too, and never "passed"
            output = {"kind": "unchecked", "reason": "engine-error", "detail": repr(error)[:1000]}
        echo = {key: head[key] for key in ("taskId", "mailId", "sha256", "settingsHash", "task")}
        self.send(kind="result", session=self.session, queueMs=0, workMs=(time.monotonic() - began) * 1000,
                  output=output, **echo)

def receive(head, body):
    link = next((one for one in links if one.session and one.session == head["session"]), None)
    if link is None and head["kind"] == "heartbeat":
        link = next((one for one in links if one.link == head.get("link") and not one.session), None)
        link and link.open(head["session"])
    if link is None:
        return
    link.heard_at = time.monotonic()
    if head["kind"] == "heartbeat":
        before = link.wants, link.heard >= link.granted_at
        link.wants, link.heard = head.get("wantsSole", False), head.get("heard", link.heard)
        if before != (link.wants, link.heard >= link.granted_at):
            [each.tell() for each in links if each.session]
    elif head["kind"] == "task" and head["task"] == KIND and head["sequence"] > link.seen and len(body) == head["size"]:
        link.work(head, body)
    elif head["kind"] == "bye":
        link.session = None if head["done"] else link.session
        leaving and link.session and link.send(kind="bye", session=link.session, done=True)

def leave(*_):
    global leaving
    leaving = time.monotonic()
    [link.send(kind="bye", session=link.session, done=False) for link in links if link.session]

context, links, leaving, next_beat = zmq.Context(), [], None, 0
pull = context.socket(zmq.PULL)
pull.setsockopt(zmq.MAXMSGSIZE, 51 * MIB)
mailbox = f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}"
assert find(b"Subject: a canary\r\n\r\nSecret\r\n", {"words": ["secret"]})["kind"] == "found"
links.extend(Link(endpoint) for endpoint in os.environ["BUS_DISPATCHERS"].split(","))
signal.signal(signal.SIGTERM, leave)
print(f"{NAME} listens on {mailbox}", flush=True)
while not leaving or (any(link.session for link in links) and time.monotonic() < leaving + 3):
    if time.monotonic() >= next_beat:
        next_beat = time.monotonic() + 1
        for link in links:
            if time.monotonic() > link.heard_at + 3:  # silent: perhaps another process by now
                link.greet()
            if link.session:
                link.tell()
            elif not link.said:
                link.said = link.send(kind="ready", incarnation=INCARNATION, link=link.link, task=KIND, versions=[1],
                                      mailbox=mailbox, engine=ENGINE, spools=[])
    if pull.poll(max(0, (next_beat - time.monotonic()) * 1000)):
        try:  # nothing that comes in ends this process
            first, *frames = pull.recv_multipart()
            heads = msgpack.unpackb(first, timestamp=3)
            for head in heads if isinstance(heads, list) else [heads]:
                receive(head, frames.pop(0) if "bytes" in head else b"")
        except Exception as error:
            print(f"dropped: {error!r}", flush=True)
