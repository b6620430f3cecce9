"""The entry of every process below the server: ``python -m gymtwist.child ROLE SETTINGS AMP READY``.

Roles: ``forkserver`` and ``worker`` speak AMP over the descriptor AMP; ``check`` only imports what the others do. Once
everything is imported, a line is written to the descriptor READY. Either may be -1 where it is not needed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from gymtwist.child import preload
from gymtwist.child.settings import ChildSettings


def main(role: str, settings: ChildSettings, amp_descriptor: int, ready_descriptor: int) -> None:
    """Be a fork server, a worker or a check, to the end."""
    if role != "check":
        # An operator's Ctrl-C is the server's business.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload.prepare_environment_variables()
    preload.preload(settings, warm_up=role == "forkserver")
    # They import NumPy and AMP, of which the one wants environment variables and the other is to come without TLS.
    from gymtwist.child import forkserver, worker

    if ready_descriptor >= 0:
        os.write(ready_descriptor, b"ready\n")
        os.close(ready_descriptor)
    if role == "check":
        return
    connection = socket.socket(fileno=amp_descriptor)
    connection.set_inheritable(False)
    if role == "forkserver":
        if threads := worker.threads_running():
            print(
                f"--preload or --setup left threads running, which no session will have: {threads}",
                file=sys.stderr,
            )
        birth = forkserver.ForkServer(connection).run()
        if birth is None:
            worker.leave(0)
            return
        connection = socket.socket(fileno=birth.amp)
    worker.run(connection, settings)


if __name__ == "__main__":
    main(sys.argv[1], ChildSettings.from_argument(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
