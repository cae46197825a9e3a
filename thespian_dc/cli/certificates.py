"""Checks of TLS files: readable, belonging together, not about to expire."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from thespian_dc.cli.finding import FAIL, OK, WARN, Finding
from thespian_dc.model.settings import Tls

EXPIRES_DAYS_MIN = 14
_DAY_S = 86_400


def check_tls(where: str, tls: Tls, now_s: float) -> Iterator[Finding]:
    """where: the setting that names the files."""
    check = f"tls {where}"
    sound = True
    shown = ("certificate", "key") if tls.certificate else ()  # a client may have none
    for name in (*shown, "authority"):
        path = Path(getattr(tls, name))
        try:
            path.read_bytes()
        except OSError as error:
            sound = False
            remedy = f"make the file readable for this user, or correct {where}.{name}"
            yield Finding(check, FAIL, f"{name} {path}: {error.strerror}", remedy)
    if not sound:
        return
    fault = _fault(tls)
    if fault:
        yield Finding(check, FAIL, fault, f"correct the files that {where} names")
        return
    if shown and os.stat(tls.key).st_mode & 0o007:
        yield Finding(check, WARN, f"key {tls.key}: every user may read it", f"chmod o= {tls.key}")
    for name in (*shown[:1], "authority"):
        yield _expiry(check, name, getattr(tls, name), now_s)


def _fault(tls: Tls) -> str:
    """What is wrong with the files as PEM; "" where they fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if tls.certificate:
            # Without a password at hand OpenSSL would ask on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        return f"certificate {tls.certificate} and key {tls.key} cannot be used: {error}"
    try:
        context.load_verify_locations(cafile=tls.authority)
    except ssl.SSLError as error:
        return f"authority {tls.authority} cannot be used: {error}"
    return ""


def _expiry(check: str, name: str, path: str, now_s: float) -> Finding:
    expires_s = expiry_s(path)
    if expires_s is None:
        remedy = "pip install cryptography, or: openssl x509 -enddate -noout -in " + path
        return Finding(check, WARN, f"{name} {path}: its expiry cannot be read here", remedy)
    days = (expires_s - now_s) / _DAY_S
    if days < 0:
        found = f"{name} {path} expired {-days:.0f} days ago"
        return Finding(check, FAIL, found, "renew it: peers refuse it")
    found = f"{name} {path} expires in {days:.0f} days"
    if days < EXPIRES_DAYS_MIN:
        return Finding(check, WARN, found, "renew it")
    return Finding(check, OK, found)


def expiry_s(path: str) -> float | None:
    """When the first certificate of a PEM file expires, in seconds since 1970; None: not known."""
    try:
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError:
        return _expiry_by_openssl(path)
    return load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc.timestamp()


def _expiry_by_openssl(path: str) -> float | None:
    """The standard library reads a certificate's fields only by a function it keeps to itself."""
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if decode is None:
        return None
    return float(ssl.cert_time_to_seconds(decode(path)["notAfter"]))
