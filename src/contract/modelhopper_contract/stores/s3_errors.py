"""What an error of an S3 server or of the way to it means, and whether trying again can help."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from modelhopper_contract.errors import ModelhopperError, StoreError, StoreUnavailable, UserError
from modelhopper_contract.stores.s3_endpoint import KEYS_HINT

# All that the client raises for a fault of the server or of the network.
CAUGHT = (MinioException, HTTPError, OSError, ParseError)

_PASSING_CODES = {
    "BadDigest",
    "IncompleteBody",
    "NoSuchUpload",  # a multipart upload that was cut and cleaned; the next try begins a new one
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_FULL_CODES = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
_PLAIN_HTTP = {"HTTP_REQUEST", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"}  # OpenSSL's words for an HTTP answer
_REGION_CODES = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect"}

_REASONS: dict[type[Exception], str] = {
    NameResolutionError: "its name is not known here",
    NewConnectionError: "",  # the system's words say it better; to urllib3 it is also the next one
    ConnectTimeoutError: "connecting timed out",
    ReadTimeoutError: "it took the request and stayed silent",
    ParseError: "its answer is not XML",
}


@dataclass(frozen=True)
class Place:
    """What an error message names."""

    url: str  # of the store, or of the object
    bucket: str
    host: str

    def passing(self, error: Exception) -> str | None:
        """Say in words what was wrong when trying again can help; None when it cannot."""
        status, code = _status(error), _code(error)
        if code in _FULL_CODES:
            return None
        if code in _PASSING_CODES or status in {408, 429} or (status >= 500 and status != 501):
            return f"{self.host} answered {status}{' ' + code if code else ''}"
        if isinstance(error, MinioException | ParseError | LocationValueError) or _is_tls_mistake(error):
            return None
        return f"no answer from {self.host} ({_cause(error)})"

    def refusal(self, error: Exception) -> ModelhopperError:
        """Return the error to raise for `error` when trying again at once cannot help."""
        code = _code(error)
        if code in _FULL_CODES:
            return StoreUnavailable(
                f"{self.url}: no room left on {self.host} ({code}); free some space and run the same command again."
            )
        if message := self._refusal_of_user(code):
            return UserError(f"{self.url}: {message}")
        if untrusted := _untrusted(error):
            return UserError(
                f"{self.url}: the certificate of {self.host} is not trusted ({untrusted.verify_message}). "
                "AWS_CA_BUNDLE names a file of certificates to trust."
            )
        if isinstance(error, S3Error):
            return StoreError(f"{self.url}: {self.host} refused: {code}: {error.message}")
        return UserError(
            f"{self.url}: what answers at {self.host} does not speak S3 ({_cause(error)}). "
            "Check the endpoint: http:// or https://, and the port (MinIO's console has another than its S3 interface)."
        )

    def _refusal_of_user(self, code: str) -> str:
        if code in _REGION_CODES:
            return f"{self.host} expects another region ({code}). Set AWS_REGION to the bucket's."
        return {
            "InvalidAccessKeyId": f"{self.host} does not know this access key. {KEYS_HINT}",
            "SignatureDoesNotMatch": f"the secret key does not fit the access key. {KEYS_HINT}",
            "AccessDenied": (
                f"{self.host} denied access. The keys need GetObject, PutObject, DeleteObject and ListBucket there. "
                f"{KEYS_HINT}"
            ),
            "ExpiredToken": f"the session token has expired. Get new keys. {KEYS_HINT}",
            "InvalidTokenId": f"the session token is not valid. {KEYS_HINT}",
            "InvalidToken": f"the session token is not valid. {KEYS_HINT}",
            "NoSuchBucket": f"there is no bucket `{self.bucket}` on {self.host}. Make it, or correct the name.",
            "InvalidBucketName": f"{self.host} does not take `{self.bucket}` as the name of a bucket.",
            "RequestTimeTooSkewed": f"this machine's clock differs too much from that of {self.host}. Set it right.",
        }.get(code, "")


def is_missing(error: Exception) -> bool:
    """Say whether the server answered that there is no object of this name."""
    return _code(error) == "NoSuchKey"


def _status(error: Exception) -> int:
    """Return the HTTP status; 0 when there was no answer."""
    if isinstance(error, S3Error):
        return error.response.status
    if isinstance(error, ServerError):
        return error.status_code
    if isinstance(error, InvalidResponseError):  # has no public attribute for it
        found = re.search(r"Response code: (\d+)", str(error))
        return int(found.group(1)) if found else 0
    return 0


def _code(error: Exception) -> str:
    return (error.code or "") if isinstance(error, S3Error) else ""


def _is_tls_mistake(error: Exception) -> bool:
    """Say whether the certificate is not trusted, or the server speaks plain HTTP."""
    reasons = [part.reason for part in error.args if isinstance(part, ssl.SSLError)]
    return isinstance(error, SSLError) and bool(_untrusted(error) or _PLAIN_HTTP.intersection(reasons))


def _untrusted(error: Exception) -> ssl.SSLCertVerificationError | None:
    return next((part for part in error.args if isinstance(part, ssl.SSLCertVerificationError)), None)


def _cause(error: Exception) -> str:
    """Return the shortest true reason, in lower case, without object addresses."""
    reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "")
    if reason:
        return reason
    if isinstance(error.__cause__, OSError):
        return (error.__cause__.strerror or str(error.__cause__)).lower()
    if isinstance(error, InvalidResponseError):
        return f"HTTP status {_status(error)}"
    return str(error.args[0]).strip(".").lower() if error.args else type(error).__name__
