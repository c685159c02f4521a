"""Calls of the AWS Key Management Service through botocore, and reasons for their failures.

botocore knows all the sources of AWS credentials. Its calls block, so they are made in threads.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import botocore.session
import trio
from botocore import exceptions
from botocore.config import Config
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError

from ..breaker import Breaker
from ..errors import KeyUnavailableError, KmsError, NotOpenedError
from ..tls import explain
from ..words import printable

Field = TypeVar("Field")

MAX_CALLS = 4

# Descriptions of the service are read from botocore's files once.
_LOADER = create_loader()

# No retries: whoever needs the key tries again.
_ATTEMPTS = {"total_max_attempts": 1, "mode": "standard"}

_NOT_OPENED = ("InvalidCiphertextException", "IncorrectKeyException")
_OPENING = ("decrypt", "re_encrypt")
_MISSING = "NotFoundException"
_CREDENTIALS_ENDED = ("ExpiredTokenException", "ExpiredToken", "RequestExpired")
_CREDENTIALS_REFUSED = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
)
_MAY_PASS = (
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "ServiceUnavailable",
    "InternalFailure",
)
# What botocore's parser raises for malformed answers, depending on where they are malformed.
_NONSENSE = (
    ResponseParserError, ValueError, TypeError, AttributeError, LookupError, RecursionError,
)  # fmt: skip
_STATES = {
    "DisabledException": "the key is disabled: enable it",
    "KMSInvalidStateException": "the key is in a state in which it cannot be used",
    "AccessDeniedException": "our credentials do not permit it: see to the policies",
}


class NotFoundError(KmsError):
    """There is no such key or alias."""


@dataclass(frozen=True)
class Service:
    """The address of the service, and our credentials.

    `endpoint` and `ca` replace the region's public ones, `profile` the default profile in the AWS
    configuration. A call has `timeout` seconds.
    """

    region: str
    timeout: float
    endpoint: str | None = None
    ca: Path | None = None
    profile: str | None = None

    def connect(self) -> Any:
        """A botocore client, made from configuration files and the environment as they are now."""
        session = botocore.session.Session(profile=self.profile)
        session.register_component("data_loader", _LOADER)
        config = Config(
            connect_timeout=self.timeout,
            read_timeout=self.timeout,
            retries=_ATTEMPTS,
            max_pool_connections=MAX_CALLS,
        )
        return session.create_client(
            "kms",
            region_name=self.region,
            endpoint_url=self.endpoint,
            verify=str(self.ca) if self.ca else None,
            config=config,
        )


class Client:
    """Makes at most MAX_CALLS calls to `service` at a time; waiting does not use up a call's time.

    A cancelled call occupies its thread until botocore gives up; MAX_CALLS also limits threads.
    """

    def __init__(self, service: Service) -> None:
        self.address = service.endpoint or f"region {service.region}"
        self._service = service
        self._places = trio.Semaphore(MAX_CALLS)
        self._threads = trio.CapacityLimiter(MAX_CALLS)
        self._connecting = trio.Lock()
        self._breaker = Breaker(f"AWS KMS at {self.address}")
        self._client: Any = None

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Do one operation, named as its method in botocore.

        Raises NotOpenedError, NotFoundError; KeyUnavailableError for every other failure.
        """
        async with self._places:
            with (
                self._breaker.attempt(),
                self._explained(operation),
                trio.fail_after(self._service.timeout),
            ):
                client = await self._connected()
                answer: dict[str, Any] = await self._in_thread(
                    partial(getattr(client, operation), **parameters)
                )
        return answer

    def read(self, answer: Mapping[str, Any], name: str, kind: type[Field]) -> Field:
        """A field of an answer. Raises KeyUnavailableError if it is missing or of another kind."""
        value = answer.get(name)
        if not isinstance(value, kind):
            raise self.nonsense(f"there is no {name} in it")
        return value

    async def aclose(self) -> None:
        """Close the connections that are kept open; calls open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await trio.to_thread.run_sync(client.close)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                # The search for credentials asks other services, or a program that may never end.
                self._client = await self._in_thread(self._service.connect)
            return self._client

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=True)

    @contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        """Turn the failures of a call into reasons that a person can act on."""
        try:
            yield
        except (trio.TooSlowError, exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError):
            raise self._too_slow() from None
        except exceptions.ClientError as error:
            raise self._judged(operation, error.response) from None
        except exceptions.SSLError as error:
            # urllib3 reports a certificate of another host by an error of its own.
            words = f"has a certificate that is refused: {printable(error.kwargs['error'])}"
            raise self._unavailable(*(explain(error) or (words, False))) from None
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise self._unavailable(*(explain(error) or ("broke the connection", True))) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
            raise self._not_asked("there are no credentials for it", retry=False) from None
        except exceptions.CredentialRetrievalError as error:
            raise self._not_asked(printable(error), retry=True) from None
        except _NONSENSE:
            raise self.nonsense("it cannot be parsed") from None
        except (exceptions.BotoCoreError, OSError) as error:
            raise self._not_asked(printable(error), retry=False) from None

    def _judged(self, operation: str, response: Mapping[str, Any]) -> Exception:
        code = str(response.get("Error", {}).get("Code", ""))
        words = printable(response.get("Error", {}).get("Message", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _NOT_OPENED and operation in _OPENING:
            return NotOpenedError()
        if code == _MISSING:
            return NotFoundError()
        if code in (*_CREDENTIALS_ENDED, *_CREDENTIALS_REFUSED):
            # The next call looks for credentials again: they may have been replaced by then.
            self._client = None
            return self._unavailable(
                f"refuses our credentials ({code}): {words}", code in _CREDENTIALS_ENDED
            )
        if code in _MAY_PASS or status >= 500 or status == 429:
            return self._unavailable(f"is in trouble ({code}): {words}", retry=True)
        meaning = _STATES.get(code, code)
        return self._unavailable(f"does not {operation}, {meaning}: {words}", retry=False)

    def _too_slow(self) -> KeyUnavailableError:
        if self._client is None:
            return self._not_asked(
                f"no credentials were found within {self._service.timeout:g} s", retry=True
            )
        return self._unavailable(f"did not answer within {self._service.timeout:g} s", retry=True)

    def nonsense(self, why: str) -> KeyUnavailableError:
        """The error for an invalid answer; `why` says what is wrong with it."""
        # botocore does not distinguish truncated answers from malformed ones, so a retry may help.
        return self._unavailable(f"gave no valid answer: {why}", retry=True)

    def _not_asked(self, why: str, retry: bool) -> KeyUnavailableError:
        self._client = None
        return self._unavailable(f"cannot be asked: {why}", retry)

    def _unavailable(self, what: str, retry: bool) -> KeyUnavailableError:
        return KeyUnavailableError(f"AWS KMS at {self.address} {what}", retry)
