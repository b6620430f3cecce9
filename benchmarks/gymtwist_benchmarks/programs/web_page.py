"""Ask a gymtwist server for what its web page asks for, until ended: ``web_page PORT list`` or ``web_page PORT live``.

The page of sessions asks for the list each second. The page of one session, the last of the list, asks for this session
each second, and with its live view for the next frame as soon as it has one. A line is written for each frame, after a
first line that says that the server answers.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import Any

#: Seconds between two requests of the page for a list; see ``page.js``.
_INTERVAL = 1.0


def main(port: int, is_live: bool) -> None:
    """Ask as the page does, by connections that are kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(path: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response, response.read()

    sessions: list[Any] = json.loads(get("/api/sessions")[1])["sessions"]
    path = "/api/sessions"
    if is_live:
        path += f"/{max(each['number'] for each in sessions)}"
    print("answered", flush=True)
    after, due = "0", time.monotonic()
    while True:
        if time.monotonic() >= due:
            due += _INTERVAL
            get("/api/status")
            get(path)
        if not is_live:
            time.sleep(max(0.0, due - time.monotonic()))
            continue
        response, _ = get(f"{path}/frame?after={after}")
        if response.status == 200:
            after = response.headers["Frame-Number"]
            print(after, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "live")
