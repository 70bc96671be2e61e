"""Why there is no connection, in a line that says what to look at. Knows errors; decides nothing."""

import logging
import socket
import ssl

from diffad_runtime.line.mqtt.settings import MqttSettings


class LinkError(Exception):
    """There is no connection, or no longer: one line that says why. Caught where it is tried again (adapter.py)."""


def why_none(error: Exception, settings: MqttSettings) -> str:
    """What an error of connecting means.

    Args:
        error: of socket, ssl or of a host name that cannot be one.
        settings: of the broker.
    """
    where = settings.where
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted: {error.verify_message.rstrip('.')}; look at ca and host"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"no TLS with {where}: {reason}; look at port and certificates"
    if isinstance(error, socket.gaierror):
        return f"no address is known for {settings.host}: {error.strerror}"
    simple: dict[type[Exception], str] = {
        ConnectionRefusedError: f"nothing listens at {where}",
        ConnectionResetError: f"{where} closed the connection at once: is it the port for TLS?",
        TimeoutError: f"{where} did not answer within {settings.connect_s:g} s",
    }
    return simple.get(type(error), f"no connection to {where}: {getattr(error, 'strerror', None) or error}")


class Heard(logging.Handler):
    """Keeps the last error that paho tells nobody but its logger, as why a socket was closed.

    Attributes:
        last: a line, "" where there was none.
        logger: for paho; it belongs to no tree, so nothing of it is written anywhere.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""
        self.logger = logging.Logger("paho", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = " ".join(record.getMessage().split())[:200]
