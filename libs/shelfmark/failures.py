"""What went wrong outside, out of the long exceptions that Spark wraps it in: one line a person can act on."""

from __future__ import annotations

import errno
import re

from shelfmark.errors import ServiceError, ShelfmarkError

AGAIN = "; nothing was published: run again with the same run id"
FULL = re.compile(r"No space left on device|Disk quota exceeded")
STORE = re.compile(r"s3a://|fs\.s3a|AmazonS3Exception|AWSS3IOException|AWSClientIOException|SdkClientException")
REFUSED = re.compile(r"Status Code: (401|403)|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken")
SILENT = re.compile(
    r"Status Code: (5\d\d)|Unable to execute HTTP request|ConnectException|Connection refused|NoHttpResponse|SocketTimeout"
    r"|Connection reset|Read timed out|ConnectTimeout|Premature end|UnknownHost"
)
LOST = re.compile(
    r"ExecutorLostFailure|Lost executor|SparkContext was shut down|SparkContext has been shutdown|Master removed"
)


def explain(error: BaseException) -> ShelfmarkError | None:
    """A `ServiceError` for a full disk, an object store that fails, or executors that are gone; None for anything else."""
    if isinstance(error, ShelfmarkError):
        return None
    text = str(error)
    if FULL.search(text) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return ServiceError(
            f"no room is left on a disk of this machine or an executor's ({_first(text, FULL)}): make room{AGAIN}"
        )
    if STORE.search(text):
        if REFUSED.search(text):
            return ServiceError(
                f"the lake's object store refuses the keys or the user ({_first(text, REFUSED)}): check the keys in the "
                f"environment{AGAIN}"
            )
        if SILENT.search(text):
            return ServiceError(
                f"the lake's object store does not answer ({_first(text, SILENT)}): see that it runs{AGAIN}"
            )
    if LOST.search(text):
        return ServiceError(
            f"executors were lost more often than Spark makes up for ({_first(text, LOST)}): look at their memory and "
            f"logs{AGAIN}"
        )
    return None


def _first(text: str, what: re.Pattern) -> str:
    """The line the pattern is found on, without the secrets that an address may hold."""
    found = what.search(text)
    line = next((line for line in text.splitlines() if what.search(line)), text) if found else text
    return re.sub(r"//[^/@\s]*@", "//", " ".join(line.split()))[:200]
