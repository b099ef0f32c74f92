"""Converts failures of requests to `OSError`, and decides which to try again.

obstore states the status of an answer only in its messages. The patterns are those of
obstore 0.12; the tests of faults check them against real answers.
"""

import errno
import re
from typing import NamedTuple

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from reader.object_stores.protocol import CHANGED

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
# What obstore says before the answer, such as "Generic S3 error: Error performing GET
# http://host/bucket/name in 1.2s, after 10 retries, max_retries: 10 - ".
_REQUEST = re.compile(
    r".*Error performing [A-Z]+ (?P<host>\w+://[^/\s]+).*? in .*? - +"
)
_ANSWERED = "Server returned non-2xx status code: "
_UNANSWERED = "HTTP error: error sending request"
# Innermost cause of a connection that failed, in the debug output.
_CAUSE = re.compile(r'(?:message: |error: |source: )"([^"]+)"')
_INVALID = re.compile(r'[Pp]ath "(?P<name>(?:[^"\\]|\\.)*)"')

# Exceptions of Python in a function that fetches credentials.
_PROVIDER = "credential provider: "
_UNREACHABLE = re.compile("TransportError|ConnectionError|Timeout")

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_NO_SUCH_BUCKET = "No such bucket: create it, or correct the address"
_REFUSED = (401, 403)
_REFUSED_CODES = ("ExpiredToken", "InvalidToken")  # With status 400.
# obstore follows a redirect, but S3 states the region instead of a place.
_OTHER_REGION = re.compile("redirect without LOCATION|AuthorizationHeaderMalformed")
# Statuses of a store that is busy or restarts; S3 sends 400 for a slow upload.
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_TRANSIENT_CODES = ("RequestTimeout", "SlowDown", "ConditionalRequestConflict")


class Failure(NamedTuple):
    """A request that failed.

    Attributes:
        error: Error to raise if the request is not tried again.
        transient: Whether the request may succeed if it is tried again.
        connected: Whether a connection was made.
    """

    error: OSError
    transient: bool = False
    connected: bool = True


class ShortAnswerError(Exception):
    """An answer has fewer bytes than were asked for and exist."""


def failure_of(error: Exception, address: str) -> Failure:
    """Returns what a failed request means.

    Args:
        error: Exception of obstore or of a credential provider.
        address: Address of the object, for the message.
    """
    if isinstance(error, ShortAnswerError):
        return Failure(OSError(errno.EIO, str(error), address), transient=True)
    text = str(error)
    if (code := _CODE.search(text)) is not None and code[1] in _NO_BUCKET:
        return Failure(OSError(errno.ENXIO, _NO_SUCH_BUCKET, address))
    if isinstance(error, FileNotFoundError):
        return Failure(_missing(address))
    if isinstance(error, PreconditionError):
        return Failure(OSError(errno.ESTALE, CHANGED, address))
    if _PROVIDER in text and _UNREACHABLE.search(text):
        failed = OSError(errno.EIO, f"No credentials: {_brief(text)}", address)
        return Failure(failed, transient=True, connected=False)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return Failure(_denied(text, address))
    if isinstance(error, InvalidPathError | ValueError):
        return Failure(_unusable(text, address))
    if not isinstance(error, BaseError):
        raise error
    return _of_answer(text, address, "" if code is None else code[1])


def is_out_of_range(error: Exception) -> bool:
    """Returns whether a range begins behind the end of an object."""
    if not isinstance(error, BaseError):
        return False
    text = str(error)  # obstore detects it where a store answers with the whole object.
    return _status_in(text) == 416 or "StartTooLarge" in text


def _of_answer(text: str, address: str, code: str) -> Failure:
    status = _status_in(text)
    if status == 404:
        return Failure(_missing(address))
    if status in _REFUSED or code in _REFUSED_CODES:
        return Failure(_denied(text, address))
    error = OSError(errno.EIO, _brief(text), address)
    if _OTHER_REGION.search(text):
        where = f"In another region: set AWS_DEFAULT_REGION to it: {_brief(text)}"
        return Failure(OSError(errno.EIO, where, address))
    if status is None:
        return Failure(error, transient=True, connected="kind: Connect" not in text)
    return Failure(error, transient=code in _TRANSIENT_CODES or status in _TRANSIENT)


def _missing(address: str) -> OSError:
    return FileNotFoundError(errno.ENOENT, "No such object", address)


def _denied(text: str, address: str) -> OSError:
    denied = f"No permission: {_brief(text)}: check the credentials and what they allow"
    return PermissionError(errno.EACCES, denied, address)


def _unusable(text: str, address: str) -> OSError:
    found = _INVALID.search(text)
    scheme, _, rest = address.partition("://")
    where = f"{scheme}://{rest.partition('/')[0]}/{found['name']}" if found else address
    if "empty path segment" in text:
        what = "Names with two slashes in a row are not supported"
    else:
        what = "Names with the parts . or .. or control characters are not supported"
    return OSError(errno.EINVAL, f"{what}: rename or delete it", where)


def _status_in(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def _brief(text: str) -> str:
    """Returns a message of obstore in one line."""
    message, _, debug = text.partition("\n\nDebug source")
    stated = _MESSAGE.search(message)
    line = message.splitlines()[0].partition("<?xml")[0].rstrip(" :")
    line = line.rpartition(_PROVIDER)[2]
    request = _REQUEST.match(line)
    if request is not None:
        line = line[request.end() :].replace(_ANSWERED, "the store answered ")
        line = line.replace(_UNANSWERED, f"no answer from {request['host']}")
    if stated is not None:
        return f"{line}: {stated[1].rstrip('.')}"
    causes = _CAUSE.findall(debug)
    return f"{line} ({causes[-1]})" if causes else line
