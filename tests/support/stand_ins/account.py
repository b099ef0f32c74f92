"""A service account of Google's, and what gives it tokens."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from stand_ins.server import Server

_TOKEN = "a-token-of-the-stand-in"


class Account(NamedTuple):
    """A service account that is known here only.

    Attributes:
        environment: Variables with which a process has its credentials at once: a
            process without any asks four times, for half a minute.
        public_key: Of the account.
    """

    environment: dict[str, str]
    public_key: bytes

    def trusts(self, authorization: str) -> bool:
        """Tells whether a request is the account's: by a token, or by its key."""
        token = authorization.removeprefix("Bearer ")
        if token == _TOKEN:
            return True
        try:
            jwt.decode(token, certs=self.public_key)
        except ValueError:
            return False
        return True


class _TokenHandler(BaseHTTPRequestHandler):
    """Gives whoever asks the same token."""

    def do_POST(self) -> None:
        body = {"access_token": _TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None:
        pass


def serve_account(folder: Path) -> Iterator[Account]:
    """Yields an account with a key of its own, in a file in the folder."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path = folder / "key.json"
    with Server(_TokenHandler) as server:
        about = {
            "type": "service_account",
            "project_id": "a-project",
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": "tests@a-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{server.url}/token",
        }
        path.write_text(json.dumps(about))
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "GOOGLE_CLOUD_PROJECT": "a-project",
            # Nor is a machine of Google's looked for.
            "NO_GCE_CHECK": "true",
            # What is not of this machine is refused at once.
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "localhost,127.0.0.1",
        }
        yield Account(environment, public)
