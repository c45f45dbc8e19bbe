"""A POST that is made again and again, with another body each time: what stays the same is made once.

Half of what a request costs in the HTTP library is for its address and its headers, its client and its
response, which say the same each time. The library is left to what is rare: redirections, proxies, and
names and passwords in the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from stb_core.http.lane import Answer, head_of, with_headers
from stb_core.http.lanes import Lanes


@dataclass(frozen=True)
class Received:
    """A whole answer; names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")


class RepeatedPost:
    """One address that is posted to.

    Args:
        http: the library's client, with its headers and timeouts.
        lanes: its transport.
        url: the address.
        headers: besides the client's, the same for every request.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        lanes: Lanes,
        url: httpx2.URL,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._http = http
        self._lanes = lanes
        self._url = url
        self._headers = headers or {}
        request = http.build_request("POST", url, headers=headers)
        del request.headers["Content-Length"]
        self._head = head_of(request)
        self._is_plain = lanes.are_direct and not url.userinfo

    async def send(self, content: bytes, headers: Mapping[str, str] | None = None) -> Received:
        """Post a body, with headers of its own.

        Raises:
            httpx2.HTTPError: there is no answer, or not a whole one.
        """
        own = headers or {}
        if self._is_plain:
            lines = [f"{name}: {value}".encode("ascii") for name, value in own.items()]
            head = with_headers(self._head, [*lines, b"Content-Length: %d" % len(content)])
            limits = self._http.timeout
            answer = await self._lanes.exchange(head + content, limits.connect, limits.read)
            if not 300 <= answer.status < 400:
                return _read(answer)
        response = await self._http.post(self._url, content=content, headers={**self._headers, **own})
        return received(response)


def received(response: httpx2.Response) -> Received:
    """The library's answer as one of ours."""
    return Received(response.status_code, dict(response.headers.items()), response.content)


def _read(answer: Answer) -> Received:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    if "content-encoding" in headers:
        return received(answer.response())
    return Received(answer.status, headers, answer.content)
