#!/usr/bin/env bash
# Package:     Twisted 26.10.0, with its "websocket" extra
# Expected:    A client learns the code with which the server closed a WebSocket: 1000 is the normal end, 1011 an error in
#              the server, 4000 and more are the application's own.
# Observed:    The transport takes a code, and it is sent; connectionLost() of the other end gets the same for each,
#              and no other method is told.
# Consequence: gymtwist's protocol says why a session ends in a message, so nothing depends on such a code.
# Output:
#   1000: ConnectionDone, Connection was closed cleanly.
#   1011: ConnectionDone, Connection was closed cleanly.
#   4000: ConnectionDone, Connection was closed cleanly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "wsproto==1.3.2" "twisted[websocket]==26.10.0"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.websocket import WebSocketClientEndpoint, WebSocketResource


class Peer:
    def __init__(self, code=None):
        self.code = code
        self.lost = Deferred()

    def negotiationStarted(self, transport):
        self.transport = transport

    def negotiationFinished(self):
        pass

    def pongReceived(self, payload):
        pass

    def bytesMessageReceived(self, data):
        pass

    def textMessageReceived(self, message):
        self.transport.loseConnection(self.code)

    def connectionLost(self, reason):
        self.lost.callback(reason.value)


class Peers:
    def __init__(self, code=None):
        self.code = code

    def buildProtocol(self, _):
        return Peer(self.code)


async def main(reactor):
    for code in (1000, 1011, 4000):
        root = Resource()
        root.putChild(b"ws", WebSocketResource(Peers(code)))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(root))
        client = await WebSocketClientEndpoint.new(reactor, f"ws://127.0.0.1:{port.getHost().port}/ws").connect(Peers())
        client.transport.sendTextMessage("close, please")
        error = await client.lost
        print(f"{code}: {type(error).__name__}, {error}")
        await port.stopListening()


react(lambda reactor: ensureDeferred(main(reactor)))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
