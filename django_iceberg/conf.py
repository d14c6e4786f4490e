"""The DATABASES entry of an Iceberg database: known keys, paths, secrets.

`Options` below is the one table of OPTIONS keys: name, kind, default, unit or meaning.
"""

import datetime
import difflib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

# Keys of a DATABASES entry: Django's own and ours.
DJANGO_KEYS = {
    "ENGINE",
    "OPTIONS",
    "TEST",
    "TIME_ZONE",
    "AUTOCOMMIT",
    "ATOMIC_REQUESTS",
    "CONN_MAX_AGE",
    "CONN_HEALTH_CHECKS",
    "DISABLE_SERVER_SIDE_CURSORS",
}
OUR_KEYS = {"WAREHOUSE", "CATALOG_URI", "NAMESPACE"}
# Django fills these in, empty, for every database; a value means a server, which there is not.
SERVER_KEYS = {"HOST", "PORT", "USER", "PASSWORD"}

TEST_KEYS = OUR_KEYS | {
    "OPTIONS",
    "MIRROR",
    "CHARSET",
    "COLLATION",
    "DEPENDENCIES",
    "MIGRATE",
    "NAME",
    "SERIALIZE",
}

LOCATION = (str, os.PathLike)
KINDS = [
    ("WAREHOUSE", LOCATION, "a path or a location"),
    ("CATALOG_URI", LOCATION, "a path or a location"),
    ("NAMESPACE", str, "a string"),
    ("OPTIONS", dict, "a dictionary"),
    ("TEST", dict, "a dictionary"),
]
# A directory of the warehouse and a key of the catalog.
NAMESPACE = re.compile(r"\w([\w.-]*\w)?")


class Size:
    """Kind of an option: a number of bytes, or text: "64 MB", "1GiB" (units are powers of 1024), "50%" of memory."""

    pattern = re.compile(r"\s*\d+(\.\d+)?\s*([kmgt]?(i?b)?|%)\s*", re.IGNORECASE)

    @classmethod
    def accepts(cls, value):
        if isinstance(value, str):
            return cls.pattern.fullmatch(value) is not None
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# OPTIONS of our own. name: (kind, default, meaning)
CORE_OPTIONS = {
    "flush.interval-ms": (
        int,
        60_000,
        "age in ms at which committed rows are published as Iceberg snapshots",
    ),
    "flush.bytes": (Size, 67_108_864, "size of unpublished rows that starts a flush: bytes, or '64 MB'"),
    "flush.rewrite-bytes": (
        Size,
        16_777_216,
        "size under which a flush may rewrite a table whole; 0: flushes add files and deletion vectors only",
    ),
    "flush.backlog": (int, 4, "times flush.bytes of unpublished rows from which commits wait a little; 0 never"),
    "flush.background": (bool, True, "publish by age and size without being asked"),
    "bulk.rows": (
        int,
        100_000,
        "changed rows of a table in a transaction that go into files before the commit; 0 never",
    ),
    "orphans.grace-ms": (
        int,
        259_200_000,
        "age in ms below which garbage collection leaves files that nothing names",
    ),
    "memory.budget": (Size, None, "memory of this host for cache and engine: bytes, or '4GB', or '50%'"),
    "cache.max-size": (Size, 10_737_418_240, "size of the local cache's directory: bytes, or '20 GB'"),
    "threads": (int, None, "worker threads of the query engine on this host"),
    "durability": (str, "full", "'full': acknowledged once on stable storage; 'os': once written"),
    "isolation-level": (str, "read committed", "'read committed' or 'snapshot'"),
    "lock.timeout-ms": (int, 0, "wait in ms for a row lock; 0 waits until a deadlock or the holder's end"),
    "clock.max-skew-ms": (int, 300_000, "how far in ms commit times may be ahead of this host's clock"),
    "log.max-bytes": (Size, None, "size of the unpublished log at which writers fail: bytes, or '4 GiB'"),
    "history.retention": (
        str,
        None,
        "how long old row versions are kept: '90d', '12h', seconds; none keeps all",
    ),
    "max-staleness-ms": (int, 1_000, "age in ms up to which other hosts' commits may be unseen"),
    "read-only": (bool, False, "refuse every write"),
}

CHOICES = {"durability": ("full", "os"), "isolation-level": ("read committed", "snapshot")}
WANTED = {int: "a whole number, not negative", bool: "True or False", str: "a string"}

# OPTIONS in PyIceberg's spelling, handed to stores and catalogs as they are.
STORE_OPTIONS = {
    "s3.endpoint",
    "s3.access-key-id",
    "s3.secret-access-key",
    "s3.session-token",
    "s3.region",
    "s3.role-arn",
    "s3.role-session-name",
    "s3.proxy-uri",
    "s3.connect-timeout",
    "s3.request-timeout",
    "s3.force-virtual-addressing",
    "s3.anonymous",
    "gcs.project-id",
    "gcs.oauth2.token",
    "gcs.oauth2.token-expires-at",
    "gcs.service.host",
    "gcs.default-location",
    "adls.connection-string",
    "adls.account-name",
    "adls.account-key",
    "adls.sas-token",
    "adls.tenant-id",
    "adls.client-id",
    "adls.client-secret",
    "adls.account-host",
    "token",
    "credential",
    "scope",
    "resource",
    "audience",
    "oauth2-server-uri",
    "ssl.cabundle",
    "rest.sigv4-enabled",
    "rest.signing-region",
    "rest.signing-name",
}
SECRET_WORDS = ("secret", "token", "credential", "key", "password", "connection-string", "sas")
# Values that name something rather than open it.
NOT_SECRET = {"s3.access-key-id", "gcs.oauth2.token-expires-at"}


class Secret(str):
    """A string that shows as stars wherever it is printed by repr: tracebacks, debug pages, logs."""

    __slots__ = ()

    def __repr__(self):
        return "'********'"


def is_secret(key: str) -> bool:
    return key not in NOT_SECRET and any(word in key.lower() for word in SECRET_WORDS)


def mask(value: Any) -> Any:
    """A copy of an OPTIONS dict or a URI in which secrets are stars."""
    if isinstance(value, dict):
        return {k: "********" if is_secret(k) else mask(v) for k, v in value.items()}
    if isinstance(value, str) and "://" in value and "@" in value:
        scheme, rest = value.split("://", 1)
        userinfo, host = rest.rsplit("@", 1)
        return f"{scheme}://********@{host}" if ":" in userinfo else value
    return value


def wrap_secrets(settings_dict: dict[str, Any]) -> None:
    """Replaces secret OPTIONS by Secret strings, in place."""
    options = settings_dict.get("OPTIONS") or {}
    for key, value in options.items():
        if isinstance(value, str) and is_secret(key) and not isinstance(value, Secret):
            options[key] = Secret(value)


def _nearest(key, known):
    match = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
    return match[0] if match else ""


class WarehouseName(str):
    """NAME as it was filled in here; a copy of the settings may have another WAREHOUSE."""

    __slots__ = ()


def name_database(settings_dict: dict[str, Any]) -> None:
    """Django's commands call a database by NAME in their messages: the warehouse it is."""
    name = settings_dict.get("NAME")
    if not name or isinstance(name, WarehouseName):
        settings_dict["NAME"] = WarehouseName(settings_dict.get("WAREHOUSE") or "")


def check_settings(settings_dict: Mapping[str, Any], alias: str = "default") -> None:
    """Raises ImproperlyConfigured for what cannot work, naming the key and the nearest known one."""
    where = f"DATABASES[{alias!r}]"
    _check_kinds(settings_dict, where)
    for key in sorted(SERVER_KEYS):
        if settings_dict.get(key):
            raise ImproperlyConfigured(
                f"{where} sets {key!r}, but an Iceberg database has no server: remove it. "
                f"Where the data lives is {_server_hint(key)}."
            )
    name = settings_dict.get("NAME")
    if name and not isinstance(name, WarehouseName) and name != settings_dict.get("WAREHOUSE"):
        raise ImproperlyConfigured(f"{where} sets 'NAME', which an Iceberg database does not use. Use 'NAMESPACE'.")
    known = DJANGO_KEYS | OUR_KEYS
    for key in settings_dict:
        if key not in known and key not in SERVER_KEYS and key != "NAME":
            raise ImproperlyConfigured(f"{where} has the unknown key {key!r}. Did you mean {_nearest(key, known)!r}?")
    for key in settings_dict.get("TEST") or {}:
        if key not in TEST_KEYS:
            raise ImproperlyConfigured(
                f"{where}['TEST'] has the unknown key {key!r}. Did you mean {_nearest(key, TEST_KEYS)!r}?"
            )
    if not settings_dict.get("WAREHOUSE"):
        raise ImproperlyConfigured(
            f"{where} needs 'WAREHOUSE': a directory, or a file://, s3://, gs:// or abfss:// location."
        )
    namespace = settings_dict.get("NAMESPACE")
    if namespace and not NAMESPACE.fullmatch(namespace):
        raise ImproperlyConfigured(
            f"{where}['NAMESPACE'] must be letters, digits and _, with - and . between them, not {namespace!r}."
        )
    check_options(settings_dict.get("OPTIONS") or {}, where)


def _check_kinds(settings_dict, where):
    for key, kinds, words in KINDS:
        value = settings_dict.get(key)
        if value is not None and not isinstance(value, kinds):
            raise ImproperlyConfigured(f"{where}[{key!r}] must be {words}, not {value!r}.")


def _server_hint(key):
    return "'CATALOG_URI' and 'OPTIONS'" if key in ("USER", "PASSWORD") else "'WAREHOUSE' and 'CATALOG_URI'"


def check_options(options: Mapping[str, Any], where: str = "DATABASES") -> None:
    for key, value in options.items():
        if key in STORE_OPTIONS or key.startswith("header."):
            continue
        if key not in CORE_OPTIONS:
            known = _nearest(key, CORE_OPTIONS.keys() | STORE_OPTIONS)
            raise ImproperlyConfigured(f"{where}['OPTIONS'] has the unknown key {key!r}. Did you mean {known!r}?")
        kind = CORE_OPTIONS[key][0]
        if kind is Size:
            if value is None or Size.accepts(value):
                continue
            raise ImproperlyConfigured(
                f"{where}['OPTIONS'][{key!r}] must be a size: bytes, '64 MB', '1GiB' or '50%', not {value!r}."
            )
        if key == "history.retention":
            parse_duration(value, f"{where}['OPTIONS'][{key!r}]")
        elif value is not None and not _is_of(value, kind, key):
            wanted = f"one of {CHOICES[key]}" if key in CHOICES else WANTED[kind]
            raise ImproperlyConfigured(f"{where}['OPTIONS'][{key!r}] must be {wanted}, not {value!r}.")


def _is_of(value, kind, key):
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= (key == "threads")
    return isinstance(value, kind) and (key not in CHOICES or value in CHOICES[key])


def base_dir():
    return Path(getattr(settings, "BASE_DIR", None) or os.getcwd())


def resolve_warehouse(location: str | os.PathLike[str]) -> str:
    """Absolute path of a local warehouse, or the URI of one in an object store."""
    location = os.fspath(location)
    scheme = urlsplit(location).scheme if "://" in location else ""
    if scheme == "file":
        if urlsplit(location).netloc not in ("", "localhost"):
            raise ImproperlyConfigured(f"WAREHOUSE {location!r} names a host: write file:///path.")
        location = unquote(urlsplit(location).path)
    elif scheme in ("s3", "s3a", "gs", "abfs", "abfss"):
        return location.rstrip("/")
    elif scheme:
        raise ImproperlyConfigured(f"WAREHOUSE {mask(location)!r}: use a path, file://, s3://, gs:// or abfss://.")
    return str(base_dir() / Path(location).expanduser())


def resolve_catalog(uri: str | None, warehouse: str) -> str:
    """Absolute path of the SQLite catalog; by default inside a local warehouse."""
    if not uri:
        if "://" in warehouse:
            raise ImproperlyConfigured(f"A warehouse at {warehouse} needs 'CATALOG_URI'.")
        return os.path.join(warehouse, "catalog.db")
    uri = os.fspath(uri)
    scheme = uri.split("://", 1)[0] if "://" in uri else ""
    if scheme == "sqlite":
        # As in SQLAlchemy: three slashes and a relative path, four and an absolute one.
        path = uri[len("sqlite:///") :] if uri.startswith("sqlite:///") else ""
        if not path:
            raise ImproperlyConfigured(
                f"CATALOG_URI {uri!r}: write sqlite:///relative/path.db or sqlite:////absolute/path.db."
            )
        return str(base_dir() / Path(path).expanduser())
    refused = "REST catalogs are not supported" if scheme in ("http", "https") else "this is no catalog"
    raise ImproperlyConfigured(f"CATALOG_URI {mask(uri)!r}: {refused}: use sqlite:///path.")


MICROSECOND = datetime.timedelta(microseconds=1)
_duration_re = re.compile(r"(\d+)\s*(s|m|h|d|w|y)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def parse_duration(value: Any, where: str = "") -> datetime.timedelta | None:
    """A timedelta of a retention: a timedelta, seconds, or text as "90d", "12h", "30m"; None for ever. Errors name `where`."""
    if value is None or isinstance(value, datetime.timedelta):
        return value
    match = _duration_re.fullmatch(str(value).strip().lower())
    if match is None or isinstance(value, bool):
        raise ImproperlyConfigured(
            f"{where}{where and ': '}{value!r} is not a duration: write a timedelta, seconds, '90d', '12h', '1y'."
        )
    return datetime.timedelta(seconds=int(match[1]) * _UNITS[match[2] or "s"])


DUCKDB_SERIES = "2.0"
_INSTALL = f"Install it with: python -m pip install 'duckdb=={DUCKDB_SERIES}.*'"


@lru_cache
def duckdb_library() -> str:
    """Path of the query engine: the extension module of the duckdb wheel, found without importing it."""
    try:
        version = importlib.metadata.version("duckdb")
    except importlib.metadata.PackageNotFoundError:
        raise ImproperlyConfigured(f"django-iceberg needs the duckdb package. {_INSTALL}") from None
    if version.split(".")[:2] != DUCKDB_SERIES.split("."):
        raise ImproperlyConfigured(f"django-iceberg needs duckdb {DUCKDB_SERIES}.x, not {version}. {_INSTALL}")
    spec = importlib.util.find_spec("_duckdb")
    if spec is None or not spec.origin or not os.path.exists(spec.origin):
        raise ImproperlyConfigured(f"The installed duckdb {version} has no _duckdb library. {_INSTALL}")
    return spec.origin
