"""What can go wrong with control, for the server's endpoint, for the client library and for ``gunicornc``.

::

    ControlError
    ├── FrameError                  bytes that are no message
    │   ├── FrameTooLargeError      longer than the receiver takes; the connection cannot go on
    │   └── InvalidMessageError     no JSON, or JSON of the wrong shape; the connection can go on
    ├── CommandError                a request that gets an error as its reply (the text is the reply)
    │   ├── UnknownCommandError
    │   ├── BadArgumentsError
    │   ├── AccessDeniedError
    │   └── PoolUnavailableError    no dirty pool, or one that does not answer
    ├── SocketFileError             the server cannot open its control socket
    │   ├── PathTooLongError
    │   └── SocketInUseError        another living server has it
    └── ClientError                 a client got no data
        ├── NothingListensError
        ├── ConnectionDeniedError   no permission for the socket
        ├── ClientTimeoutError
        ├── BadReplyError
        └── CommandFailedError      the server answered with an error
"""


class ControlError(Exception):
    """Base of everything that this package raises on purpose."""


class FrameError(ControlError):
    """Received bytes that are no message of the control protocol."""


class FrameTooLargeError(FrameError):
    """A frame whose length exceeds the receiver's limit; what follows it cannot be found.

    ``size`` and ``limit`` are in bytes, without the four bytes of the length.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a message of {size} bytes exceeds the limit of {limit} bytes")
        self.size = size
        self.limit = limit


class InvalidMessageError(FrameError):
    """A well-framed message that is no JSON or has the wrong shape.

    ``message_id`` is the id to answer with, 0 where the message has none.
    """

    def __init__(self, reason: str, message_id: int = 0) -> None:
        super().__init__(reason)
        self.message_id = message_id


class CommandError(ControlError):
    """A command that cannot be honoured; its text goes to the client as it stands."""


class UnknownCommandError(CommandError):
    """No command has this name."""


class BadArgumentsError(CommandError):
    """The command exists, its arguments are wrong."""


class AccessDeniedError(CommandError):
    """The peer may read only, and the command writes."""


class PoolUnavailableError(CommandError):
    """No dirty pool is configured, or its arbiter does not answer."""


class SocketFileError(ControlError):
    """The control socket cannot be opened."""


class PathTooLongError(SocketFileError):
    """The kernel's limit for paths of unix sockets."""


class SocketInUseError(SocketFileError):
    """A living process listens at this path, so it is left alone."""


class ClientError(ControlError):
    """A client's call brought no data."""


class NothingListensError(ClientError):
    """There is no socket at the path, or nobody behind it."""


class ConnectionDeniedError(ClientError):
    """The permissions of the socket or its directory keep this user out."""


class ClientTimeoutError(ClientError):
    """No complete reply within the client's timeout. The command may have taken effect."""


class BadReplyError(ClientError):
    """The peer closed the connection or sent something that is no reply. The command may have taken effect."""


class CommandFailedError(ClientError):
    """The server answered with an error; the text is the server's."""
