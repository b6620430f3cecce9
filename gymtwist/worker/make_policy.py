"""What a make message may ask for."""

from __future__ import annotations

from gymtwist.envs import registry
from gymtwist.errors import InvalidField, RequestError
from gymtwist.protocol import messages
from gymtwist.worker.access_policy import AllowList, KwargPolicy
from gymtwist.worker.worker_settings import WorkerSettings


class MakePolicy:
    """Checks make messages.

    Args:
        settings: The operator's options.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._ids = AllowList(settings.allow)
        self._kwargs = KwargPolicy(settings.kwargs, restricted=bool(settings.allow))

    def check(self, make: messages.Make) -> None:
        """Check what concerns the server, and not the environment.

        Raises:
            RequestError: It cannot be had.
        """
        if make.version > messages.VERSION:
            raise InvalidField(f"version {make.version}: this server speaks version {messages.VERSION}")
        if make.num_envs is None and make.vectorization_mode is not None:
            raise InvalidField("vectorization_mode is for several environments: send num_envs, too")
        # Gymnasium makes an environment of the mode "human" for "human_list", too, and collects what it renders.
        if (make.render_mode or "").removesuffix("_list") == "human" and not self._settings.display:
            raise RequestError(
                f'render_mode "{make.render_mode}" opens a window on the server\'s screen, which was started without '
                '--display; ask for "rgb_array", and show the frames on your own'
            )
        self._ids.check(make.id)
        if make.kwargs:
            self._kwargs.check(make.kwargs, registry.find(make.id).spec.kwargs)
