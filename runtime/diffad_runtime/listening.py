"""A TCP socket that clients can connect to from now on.

Knows addresses and what may be wrong with one. Does not know protocols.
"""

import errno
import socket

from diffad_runtime.errors import InputError


def listen(host: str, port: int, *, waiting: int = 16) -> socket.socket:
    """Bind and listen; non-blocking.

    Args:
        host: name or address of this machine.
        port: 0: any free one.
        waiting: connections that may wait to be taken.

    Raises:
        InputError: the address cannot be bound to.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            # A service that was started again need not wait for what is left of connections to the one before.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(waiting)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        mend = "Use another port, or an address of this machine; 127.0.0.1 is always one"
        if isinstance(error, OSError) and error.errno == errno.EACCES and port < 1024:
            mend = "Give the service the right CAP_NET_BIND_SERVICE, or use a port of 1024 and more"
        raise InputError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}", mend=mend
        ) from error
    return listening
