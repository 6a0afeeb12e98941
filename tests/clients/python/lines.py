"""What the drivers say and are told: one JSON object a line, commands in, events out.

Each driver is one client. It is told `connect` first, then `subscribe`, `publish` and `leave` in any
order; it says `connected`, `subscribed`, `published`, `left`, and between them a `message` whenever
one comes. A driver that is killed is a client that goes without a DISCONNECT.
"""

import base64
import json
import os
import ssl
import sys
import threading
import traceback

# How long a client waits for an answer, in seconds: a little less than the tests.
PATIENCE = 50

_writing = threading.Lock()


def say(event, **facts):
    """Writes an event."""
    with _writing:
        sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
        sys.stdout.flush()


def say_message(topic, qos, retain, payload, properties):
    """Writes a message that came; `properties` are None in MQTT 3.1.1."""
    encoded = base64.b64encode(payload).decode()
    say("message", topic=topic, qos=qos, retain=bool(retain), payload=encoded, properties=properties)


def next_command():
    """The next command; a client whose test is gone ends."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def payloads(command):
    """The payloads to publish."""
    return [base64.b64decode(payload) for payload in command["payloads"]]


def tls_context(command):
    """Trusts the broker's CA; None without TLS."""
    return ssl.create_default_context(cafile=command["ca"]) if command["ca"] else None


def give_up(why):
    """Ends the client now, whatever its threads do."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


def run(main):
    """Runs `main` to its end; what it raises ends the client."""
    try:
        main()
    except BaseException:
        give_up(traceback.format_exc())
    os._exit(0)
