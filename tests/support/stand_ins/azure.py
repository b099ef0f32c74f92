"""Azure Blob Storage, by Microsoft's emulator, Azurite: a container on loopback."""

from collections.abc import Iterator
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from real_engines.downloads import azurite
from real_engines.processes import serving

_CONTAINER = "bucket"
# The emulator's account and its key are the same everywhere, and public.
_NAME = "devstoreaccount1"
_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw=="
)


class AzureStore:
    """`az://bucket`, for the clients of this process and of others.

    Attributes:
        endpoint: The server's address.
        roots: What precedes an object's name in a request.
        environment: Variables with which a process reads and writes here.
        flags: Of the command line, with which it reads and writes here: none.
    """

    roots = (f"/{_NAME}/{_CONTAINER}/",)
    flags: tuple[str, ...] = ()

    def __init__(self, endpoint: str) -> None:
        """Takes the server's address, and makes the container."""
        self.endpoint = endpoint
        self.environment = self.environment_at(endpoint)
        service = BlobServiceClient(
            f"{endpoint}/{_NAME}", {"account_name": _NAME, "account_key": _KEY}
        )
        self._container = service.create_container(_CONTAINER)

    def environment_at(self, endpoint: str) -> dict[str, str]:
        """Returns the variables for a server at another address."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": _NAME,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": f"{endpoint}/{_NAME}",
        }

    def flags_at(self, endpoint: str) -> tuple[str, ...]:
        """Returns the flags for a server at another address."""
        return ()

    def put(self, name: str, content: bytes) -> str:
        """Stores an object; returns its address."""
        self._container.upload_blob(name, content, overwrite=True)
        return f"az://{_CONTAINER}/{name}"

    def upload(self, folder: Path, prefix: str) -> str:
        """Uploads all files below a folder; returns `az://bucket/prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            self.put(f"{prefix}/{name}", path.read_bytes())
        return f"az://{_CONTAINER}/{prefix}"

    def delete(self, address: str) -> None:
        """Deletes an object."""
        self._container.delete_blob(_name_of(address))

    def names(self, folder: str) -> list[str]:
        """Returns the relative names of all objects below an address."""
        prefix = _name_of(folder).rstrip("/") + "/"
        names = self._container.list_blob_names(name_starts_with=prefix)
        return [name.removeprefix(prefix) for name in names]

    def get(self, address: str) -> bytes:
        """Returns an object's content, by its address."""
        return self._container.download_blob(_name_of(address)).readall()

    def download(self, folder: str) -> dict[str, bytes]:
        """Returns the content of all objects below an address, by relative name."""
        folder = folder.rstrip("/")
        return {name: self.get(f"{folder}/{name}") for name in self.names(folder)}


def _name_of(address: str) -> str:
    return address.removeprefix(f"az://{_CONTAINER}/")


def serve_azure(folder: Path) -> Iterator[AzureStore]:
    """Yields `az://bucket`, empty at first; a folder takes the server's log.

    Raises:
        UnavailableError: Azurite cannot be had here.
    """
    command = [
        *("node", azurite(), "--blobPort", "0"),
        *("--inMemoryPersistence", "--extentMemoryLimit", "2048"),
        *("--disableTelemetry", "--skipApiVersionCheck", "--silent"),
    ]
    with serving("Azurite", command, folder / "azurite.log") as server:
        yield AzureStore(server.wait_for(r"listens on (http://\S+)")[1])
