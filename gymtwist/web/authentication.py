"""Who sends a request: the header ``Authorization`` has the client's token.

Programs send it as ``Bearer`` (RFC 6750). A browser asks for a user name and a password, and sends them as ``Basic``
(RFC 7617): the password is the token, and the user name is ignored.
"""

from __future__ import annotations

import base64

from gymtwist.errors import TokenRefused

_SCHEMES = "bearer, basic"
#: The value of ``WWW-Authenticate`` in a response that asks for a token; a browser then asks for a password.
CHALLENGE = 'Basic realm="gymsock, with a token as the password", charset="UTF-8"'


def token_of(authorization: str | None) -> str | None:
    """Return the token in a header.

    Args:
        authorization: The value of ``Authorization``; None if it was not sent.

    Returns:
        The token; None if the header was not sent.

    Raises:
        TokenRefused: The header has no token.
    """
    if authorization is None:
        return None
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:  # not base64, or not UTF-8
            raise TokenRefused("the header Authorization is not base64 of UTF-8; send Basic NAME:TOKEN") from None
    raise TokenRefused(f"the header Authorization has another scheme than {_SCHEMES}; send Bearer TOKEN")
