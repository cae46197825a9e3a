"""Certificate authorities whose files lie in folders of their own."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from thespian_dc.model.settings import Tls


class Authority:
    """A certificate authority whose files lie in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._ca = folder, trustme.CA()
        self.pem = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.pem)

    def tls(
        self,
        name: str,
        authority: str = "",
        *,
        also: str = "",
        client_auth: bool = True,
        **how: Any,
    ) -> Tls:
        """Files of a certificate for `name`, and for `also`, that trusts `authority` (default: this
        one)."""
        names = [] if "common_name" in how else [one for one in (name, also) if one]
        issued = self._ca.issue_cert(*names, **how)
        return self._written(name, issued.private_key_pem, issued.cert_chain_pems,
                             authority or self.pem, client_auth)  # fmt: skip

    def uri(self, uri: str) -> Tls:
        """A certificate whose only name is this URI, signed by this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        signer: Any = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True
            )
            .sign(signer, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = trustme.Blob(certificate.public_bytes(Encoding.PEM))
        return self._written("uri", trustme.Blob(pem), [chain], self.pem, True)

    def nobody(self) -> Tls:
        """Trusts this authority and shows no certificate."""
        return Tls("", "", self.pem)

    def replace(self, tls: Tls, name: str) -> None:
        """Put a certificate of this authority for `name` into these files, and trust it there."""
        issued = self._ca.issue_cert(name)
        issued.private_key_pem.write_to_path(tls.key)
        Path(tls.certificate).write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        Path(tls.authority).write_bytes(Path(self.pem).read_bytes())

    def self_signed(self) -> Tls:
        """The authority's own certificate, misused as a server's."""
        return self._written("self", self._ca.private_key_pem, [self._ca.cert_pem], self.pem, True)

    def _written(self, name: str, key: Any, chain: Any, authority: str, client_auth: bool) -> Tls:
        key_path, chain_path = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        key.write_to_path(str(key_path))
        chain_path.write_bytes(b"".join(pem.bytes() for pem in chain))
        return Tls(str(chain_path), str(key_path), authority, client_auth)
