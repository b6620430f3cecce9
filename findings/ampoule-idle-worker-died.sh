#!/usr/bin/env bash
# Package:     ampoule 24.10.0, Twisted 26.10.0
# Expected:    A ProcessPool has at least "min" processes: it starts another for one that died, idle or busy.
# Observed:    It does for a busy one. After an idle one died the pool stays smaller, also after a job, until two jobs at a
#              time want more processes than it has; the second waits for the start of a process.
# Consequence: gymtwist has a pool of its own, which watches idle workers and replaces those that die.
# Output:
#   started: 2
#   an idle one died: 1
#   after one job: 1
#   after two jobs at a time: 2
#   a busy one died: 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ampoule==24.10.0" "twisted==26.10.0"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
from ampoule import commands, pool
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import deferLater, react


async def main(reactor):
    workers = pool.ProcessPool(min=2, max=2)
    await workers.start()

    def echo():
        return workers.doWork(commands.Echo, data=b"data")

    print("started:", len(workers.processes))
    await gatherResults([echo(), echo()])
    next(iter(workers.ready)).transport.signalProcess("KILL")
    await deferLater(reactor, 2)
    print("an idle one died:", len(workers.processes))
    await echo()
    print("after one job:", len(workers.processes))
    await gatherResults([echo(), echo()])
    print("after two jobs at a time:", len(workers.processes))
    job = echo()
    next(iter(workers.busy)).transport.signalProcess("KILL")
    try:
        await job
    except ProcessTerminated:
        await deferLater(reactor, 2)
        print("a busy one died:", len(workers.processes))
    await workers.stop()


react(lambda reactor: ensureDeferred(main(reactor)))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
