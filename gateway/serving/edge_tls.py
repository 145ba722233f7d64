"""The certificate that clients are shown. A new one is taken when its file changes."""

import ssl

from gateway.settings import Settings
from services.plumbing.tls import read_key
from services.plumbing.watched import Watched


class EdgeCertificate(Watched[ssl.SSLContext]):
    """Start `watch()` as a task to follow the files."""

    def __init__(self, settings: Settings) -> None:
        certificate, key = settings.http_tls_certificate, settings.http_tls_key
        assert certificate is not None, "the settings require both for tls"
        assert key is not None, "the settings require both for tls"

        def read() -> ssl.SSLContext:
            read_key(key, certificate)  # raises a WrongCertificate that says what is wrong
            return _context(str(certificate), str(key))

        super().__init__("certificate", [certificate, key], read)

    def context(self) -> ssl.SSLContext:
        """For a server: every connection that is opened gets the newest certificate."""
        first = self.current

        def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            if self.current is not first:
                connection.context = self.current

        first.sni_callback = choose
        return first


def _context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the ciphers of the system."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context
