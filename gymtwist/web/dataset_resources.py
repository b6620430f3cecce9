"""``/api/datasets``: the datasets of recorded episodes, and archives of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IPullProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from gymtwist.protocol.http_head import Problem, shown
from gymtwist.recordings.dataset_catalogue import DatasetRow, archive, find_dataset, is_seen, list_datasets
from gymtwist.server.server_log import log
from gymtwist.web.api_resources import answer_later
from gymtwist.web.json_resource import JsonResource, json_body

#: The suffix of the path of an archive.
_ARCHIVE = ".tar"


class Datasets(JsonResource):
    """Answers with the datasets that the client may see; its children are the individual datasets.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._factory = factory

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource of one dataset, whose name may contain slashes; called by Twisted."""
        parts = [path, *request.postpath]
        request.postpath.clear()
        name = b"/".join(parts).decode("utf-8", "replace").strip("/")
        return OneDataset(self._factory, name) if name else self

    def render_GET(self, request: Any) -> int:
        """Answer; called by Twisted."""

        def body(request: Any, rows: list[DatasetRow]) -> bytes:
            seen = [row for row in rows if is_seen(row.name, request.identity.sees)]
            return json_body(request, 200, {"datasets": seen})

        # There may be many, and the disk may be slow.
        answer_later(request, self._factory.in_thread(list_datasets, self._factory.datasets), body)
        return NOT_DONE_YET


class OneDataset(JsonResource):
    """Answers with the description of a dataset, or with an archive of it.

    Args:
        factory: What the connections of the server share.
        name: The name of the dataset; with the suffix ``.tar`` for an archive.
    """

    isLeaf = True

    def __init__(self, factory: Any, name: str) -> None:
        super().__init__()
        self._factory = factory
        self._root: Path = factory.datasets
        self._name = name.removesuffix(_ARCHIVE)
        self._is_archive = name.endswith(_ARCHIVE)

    def render_GET(self, request: Any) -> bytes | int:
        """Answer; called by Twisted."""
        if not is_seen(self._name, request.identity.sees):
            return self._none(request)
        found = self._factory.in_thread(find_dataset, self._root, self._name)
        answer_later(request, found, self._body)
        return NOT_DONE_YET

    def _body(self, request: Any, row: DatasetRow | None) -> bytes | None:
        if row is None:
            return self._none(request)
        if not self._is_archive:
            return json_body(request, 200, row)
        request.setHeader(b"Content-Type", b"application/x-tar")
        name = self._name.rpartition("/")[2].encode()
        request.setHeader(b"Content-Disposition", b'attachment; filename="%s.tar"' % name)
        ArchiveProducer(request, archive(self._root, self._name))
        return None

    def _none(self, request: Any) -> bytes:
        problem = Problem(
            "there is no dataset of this name",
            code="no-dataset",
            field="dataset",
            value=shown(self._name),
            remedy="see /api/datasets for those that there are",
        )
        return json_body(request, 404, problem)


@implementer(IPullProducer)
class ArchiveProducer:
    """Sends an archive as fast as the client reads it; called by Twisted.

    Args:
        request: The request.
        pieces: The pieces of the archive.
    """

    def __init__(self, request: Any, pieces: Iterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        request.notifyFinish().addErrback(self._left)
        request.registerProducer(self, False)

    def _left(self, failure: Failure) -> None:
        self._pieces = iter(())

    def resumeProducing(self) -> None:
        """Send the next piece."""
        try:
            piece = next(self._pieces, None)
        except OSError as error:
            log.error("a dataset cannot be exported: {error}", error=error)
            self._request.unregisterProducer()
            self._request.loseConnection()  # so that the client does not take a part for the whole archive
            return
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.write(piece)

    def stopProducing(self) -> None:
        """Stop sending: the client has left."""
        self._left(Failure(ConnectionError()))
