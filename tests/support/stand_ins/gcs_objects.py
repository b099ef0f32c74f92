"""The objects of the Google Cloud Storage stand-in, and pages of their names.

The objects of gcp-storage-emulator, but for what it gets wrong: names, conditions, and
lists in pages.
"""

from typing import Any, NamedTuple
from urllib.parse import quote

from gcp_storage_emulator.storage import Storage


class Answer(Exception):
    """An answer other than the emulator's."""

    def __init__(self, status: int, reason: str) -> None:
        """Takes a status of HTTP, and what it is for."""
        super().__init__(reason)
        self.status = status


class Page(NamedTuple):
    """A page of a list.

    Attributes:
        items: Objects.
        prefixes: Names up to the delimiter.
        last: Last name of the page if there are more. None at the end.
    """

    items: list[dict[str, Any]]
    prefixes: list[str]
    last: str | None


class Objects(Storage):
    """The emulator's objects, as Google keeps them.

    The emulator takes names for paths (`a//b` is `a/b`, and `..` an error), ignores
    conditions, and writes its books anew at each change: slow, and an error where
    another thread changes them meanwhile.

    Attributes:
        must_match: Generation that a written object must replace, or None.
        page_size: Names in one answer to a list, at most: Google gives 1000.
    """

    must_match: str | None = None
    page_size = 1000

    def _write_config_to_file(self) -> None:
        pass

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        return f"{bucket_name}/{quote(file_name, safe='')}"

    def generation(self, bucket: str, name: str) -> str:
        """Returns the generation of an object, or "0" if it does not exist."""
        return str(self.objects.get(bucket, {}).get(name, {}).get("generation", 0))

    def create_file(
        self,
        bucket_name: str,
        file_name: str,
        content: bytes,
        file_obj: dict[str, Any],
        file_id: str | None = None,
    ) -> None:
        """Writes an object if `must_match` allows it."""
        if self.must_match not in (None, self.generation(bucket_name, file_name)):
            raise Answer(412, "conditionNotMet")
        link = file_obj["mediaLink"]  # A name with a `#` in it would end there.
        quoted = quote(file_name, safe="")
        file_obj["mediaLink"] = link.replace(f"/o/{file_name}?", f"/o/{quoted}?")
        super().create_file(bucket_name, file_name, content, file_obj, file_id)

    def page(
        self,
        bucket: str,
        wanted: tuple[str | None, str | None, str | None],
        *,
        begin: str,
        after: str,
        size: int,
    ) -> Page:
        """Returns a page of a list; the emulator has one page for all.

        Args:
            bucket: Name of the bucket.
            wanted: Prefix, delimiter and glob of the names.
            begin: First name that the page may hold.
            after: Name that the page begins after.
            size: Largest number of names that the client wants.
        """
        if bucket not in self.buckets:
            raise Answer(404, "no such bucket")
        items, prefixes = self.get_file_list(bucket, *wanted)
        found: dict[str, Any] = {item["name"]: item for item in items}
        found |= dict.fromkeys(prefixes)
        names = sorted(name for name in found if name >= begin and name > after)
        page = names[: min(self.page_size, size)]
        return Page(
            [found[name] for name in page if found[name]],
            [name for name in page if not found[name]],
            page[-1] if len(names) > len(page) else None,
        )
