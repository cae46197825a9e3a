"""The registry: one look-up by type or manifest, then one closure compiled for that class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from thespian_dc.codec.catalogue import Catalogue, PayloadType
from thespian_dc.codec.declare import Encoding, Registered, Upcaster
from thespian_dc.codec.faults import explain
from thespian_dc.codec.hints import with_reachable
from thespian_dc.codec.packing import MsgpackDialect
from thespian_dc.codec.shapes import Shape
from thespian_dc.codec.text import JsonDialect
from thespian_dc.model.errors import (
    CodecError,
    CorruptPayloadError,
    RegistrationError,
    UnregisteredTypeError,
)
from thespian_dc.model.record import DELETED_MANIFEST, VALUE_MANIFEST

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


class Registry:
    """Payload types by class and by manifest. Immutable, safe from several threads.

    types: classes, or Registered(...) where the defaults do not suit. Dataclasses, named tuples,
    enums and messages that their fields' type hints name are registered along under their own
    names. Raises RegistrationError, naming class and field, for what cannot be stored exactly.
    """

    __slots__ = (
        "_by_type",
        "_catalogue",
        "_decoders",
        "_json",
        "_msgpack",
        "_pack_value",
        "_unpack_value",
    )

    def __init__(
        self, types: Iterable[type | Registered], *, upcasters: Iterable[Upcaster] = ()
    ) -> None:
        self._catalogue = Catalogue(with_reachable(types), upcasters)
        self._msgpack = MsgpackDialect(self._catalogue)
        self._json = JsonDialect(self._catalogue)
        self._pack_value = self._msgpack.packer(lambda value: value)
        self._unpack_value = _decoder("value", self._msgpack.unpack, lambda value: value)
        self._by_type: dict[type, tuple[str, Encode]] = {}
        # What a durable state leaves in a log under no class's manifest.
        self._decoders: dict[str, Decode] = {
            VALUE_MANIFEST: self.decode_value,
            DELETED_MANIFEST: _nothing,
        }
        for kind in self._catalogue.types:
            self._add(kind)

    # --- registered types ---

    def encode(self, obj: Any) -> tuple[str, bytes]:
        """(manifest, payload) of an object whose exact type is registered.

        Raises UnregisteredTypeError, or UnencodableError naming the path to the value at fault.
        """
        try:
            manifest, encode = self._by_type[type(obj)]
        except KeyError:
            raise self._unregistered(type(obj)) from None
        return manifest, encode(obj)

    def decode(self, manifest: str, payload: bytes) -> Any:
        """The object, of the current version of its class; a durable state that is a plain value as
        it was, one that was deleted as None.

        Raises UnknownManifestError when no registered class has this manifest, CorruptPayloadError
        when the bytes or the fields in them do not fit it.
        """
        try:
            decode = self._decoders[manifest]
        except KeyError:
            raise self._catalogue.unknown(manifest) from None
        return decode(payload)

    def manifest(self, cls: type) -> str:
        """What `encode` returns for this class: "ItemAdded/1", "ItemAdded/1+json", …+protobuf."""
        return self._registered(cls)[0]

    def encoder(self, cls: type) -> Encode:
        """The bare closure for one class, for loops; give it objects of exactly this class."""
        return self._registered(cls)[1]

    def decoder(self, manifest: str) -> Decode:
        """The bare closure for one manifest, for loops. Raises UnknownManifestError."""
        try:
            return self._decoders[manifest]
        except KeyError:
            raise self._catalogue.unknown(manifest) from None

    @property
    def types(self) -> tuple[type, ...]:
        """All registered classes, those that came along included."""
        return tuple(self._by_type)

    # --- untyped values: states, snapshots, replies ---

    def encode_value(self, value: Any) -> bytes:
        """Bytes of any storable value; it may be or hold registered objects. UnencodableError."""
        try:
            return self._pack_value(value)
        except MemoryError:
            raise
        except Exception as error:
            raise explain(type(value).__name__, value, error, self._catalogue) from error

    def decode_value(self, payload: bytes) -> Any:
        """What `encode_value` got. CorruptPayloadError; UnknownManifestError for a type within."""
        return self._unpack_value(payload)

    # --- construction ---

    def _registered(self, cls: type) -> tuple[str, Encode]:
        try:
            return self._by_type[cls]
        except KeyError:
            raise self._unregistered(cls) from None

    def _unregistered(self, cls: type) -> UnregisteredTypeError:
        return UnregisteredTypeError(f"{cls.__module__}.{cls.__qualname__}", self._catalogue.known)

    def _add(self, kind: PayloadType) -> None:
        encoding = _encoding(kind)
        suffix = "" if encoding == "msgpack" else f"+{encoding}"
        self._by_type[kind.shape.cls] = (kind.tag + suffix, self._encoder(kind.shape, encoding))
        for tag, _ in kind.readable_tags():
            build = self._catalogue.builders[tag]
            if encoding == "protobuf":
                self._decoders[f"{tag}+protobuf"] = build
            else:
                self._decoders[tag] = _decoder(tag, self._msgpack.unpack, build)
                text = f"{tag}+json"
                self._decoders[text] = _decoder(text, self._json.load, build)

    def _encoder(self, shape: Shape, encoding: Encoding) -> Encode:
        catalogue, name, take = self._catalogue, shape.cls.__name__, shape.take
        write: Encode
        if encoding == "protobuf":
            write = take
        elif encoding == "json":
            write = self._json.dumper(take)
        else:
            write = self._msgpack.packer(take)

        def encode(obj: Any) -> bytes:
            try:
                return write(obj)
            except MemoryError:
                raise
            except Exception as error:
                raise explain(name, obj, error, catalogue) from error

        return encode


def _encoding(kind: PayloadType) -> Encoding:
    is_message = hasattr(kind.shape.cls, "SerializeToString")
    chosen = kind.declared.encoding or ("protobuf" if is_message else "msgpack")
    if chosen not in {"msgpack", "json", "protobuf"} or is_message != (chosen == "protobuf"):
        raise RegistrationError(
            kind.shape.cls.__qualname__,
            f"encoding {chosen!r}; protobuf messages use 'protobuf', all else 'msgpack' or 'json'",
        )
    return chosen


def _nothing(_: bytes) -> None:
    """A deleted state."""


def _decoder(manifest: str, unpack: Decode, build: Callable[[Any], Any]) -> Decode:
    """Bytes to object, under the names of errors that a user knows."""

    def decode(payload: bytes) -> Any:
        try:
            return build(unpack(payload))
        except (CodecError, MemoryError):
            raise
        except Exception as error:
            raise CorruptPayloadError(manifest, f"{type(error).__name__}: {error}") from error

    return decode
