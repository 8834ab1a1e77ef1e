"""Events that have come and were not taken: a bounded number, and what is left out is told."""

from __future__ import annotations

from typing import Optional

from .connection import Connection, Params
from .stream import Stream

_AHEAD = 4096  # events; the daemon drops its own when this process doesn't read at all


class Events:
    """``events.subscribe``. Iterates over events, and where some were left out over a mapping
    ``{"kind": "gap", "dropped": how many}``: None of them where that is not known."""

    def __init__(self, connection: Connection, params: Params) -> None:
        self._params = params
        self._gap: Optional[Params] = None  # the newest that is there, if it is one
        self._stream = Stream(connection, "events.subscribe", params, window=0,
                              weigh=lambda item: 0, take=self._take, again=self._on_again)

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Params:
        event: Params = await self._stream.__anext__()
        if event is self._gap:
            self._gap = None
        return event

    def close(self) -> None:
        self._stream.close()

    def _take(self, event: Params) -> Optional[Params]:
        if "dropped" not in event and len(self._stream) < _AHEAD:
            self._gap = None
            return {name: value for name, value in event.items() if name not in ("stream", "n")}
        dropped: Optional[int] = event.get("dropped", 1)
        if self._gap is None:
            self._gap = {"kind": "gap", "dropped": dropped}
            return self._gap
        before = self._gap["dropped"]
        self._gap["dropped"] = None if dropped is None or before is None else before + dropped
        return None

    def _on_again(self) -> Params:
        self._stream.put({"dropped": None})  # it begins anew
        return self._params
