"""Store the finished parts of a replay, so that they are not computed again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError
from fer.files import read_json, write_json

WAY_OUT: Final = "remove it to compute it again"


@dataclass(frozen=True)
class Store:
    """A folder of results by name, each with the settings that it was computed with.

    Attributes:
        folder: Where the results are.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """Return the file of a result."""
        return self.folder / f"{name}.json"

    def get(
        self, name: str, settings: Mapping[str, Any], compute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a stored result, or compute and store it.

        Args:
            name: Name of the result.
            settings: Everything that it depends on, as JSON types.
            compute: Returns the result, as JSON types.

        Raises:
            InputError: There is a result with other settings, or the file is damaged.
        """
        if self.check(name, settings):
            return dict(read_json(self.path(name), WAY_OUT)["result"])
        result = compute()
        write_json(self.path(name), {"settings": settings, "result": result})
        return result

    def check(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Return whether a result is stored.

        Raises:
            InputError: There is a result with other settings, or the file is damaged.
        """
        path = self.path(name)
        if not path.is_file():
            return False
        content = read_json(path, WAY_OUT)
        if content.get("settings") != settings or "result" not in content:
            msg = f"{path} has other settings than this version's protocol: {WAY_OUT}"
            raise InputError(msg)
        return True
