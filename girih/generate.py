"""Makes the stubs and the descriptor set from `protos/`. Knows protoc, and no service."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from google.api import http_pb2

PACKAGE = Path(__file__).resolve().parent
PROTOS = PACKAGE.parent / "protos"

DESCRIPTOR_SET = PACKAGE / "descriptors.binpb"
"""A serialized FileDescriptorSet of the contract and its imports, with all comments."""

_DIGEST = PACKAGE / ".digest"
_LOCK = PACKAGE / ".lock"


def ensure() -> bool:
    """Generate when the stubs do not fit the protos. Answers whether it had to.

    Safe from many processes at once: one generates, the others wait for it. Costs about
    a millisecond when nothing changed and a second when something did.
    """
    # Where girih is installed there are none, though there may be those of somebody else.
    if not (PROTOS / "girih").is_dir():
        return False
    digest = _digest()
    if _generated() == digest:
        return False
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _generated() == digest:
            return False
        _generate()
        _DIGEST.write_text(digest)
    return True


def _digest() -> str:
    """A digest of everything the stubs are made from: the protos and the generator."""
    hasher = hashlib.sha256(f"{version('grpcio-tools')} {version('protobuf')}".encode())
    for proto in sorted(PROTOS.rglob("*.proto")):
        hasher.update(str(proto.relative_to(PROTOS)).encode())
        hasher.update(proto.read_bytes())
    return hasher.hexdigest()


def _generated() -> str:
    return _DIGEST.read_text() if _DIGEST.exists() and DESCRIPTOR_SET.exists() else ""


def _generate() -> None:
    """Generate beside the old stubs, then put the new ones in their place."""
    _DIGEST.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGE, prefix=".new-") as temporary:
        new = Path(temporary)
        _protoc(new)
        for old in PACKAGE.iterdir():
            if old.is_dir() and (old / "v1").is_dir():
                shutil.rmtree(old)
        for made in (new / "girih").iterdir():
            made.rename(PACKAGE / made.name)
        (new / DESCRIPTOR_SET.name).rename(DESCRIPTOR_SET)


def _protoc(target: Path) -> None:
    well_known = files("grpc_tools") / "_proto"
    annotations = Path(http_pb2.__file__).parent.parent.parent
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{PROTOS}", f"-I{annotations}", f"-I{well_known}"),
        *(f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}"),
        *("--include_imports", "--include_source_info"),
        f"--descriptor_set_out={target / DESCRIPTOR_SET.name}",
        *(str(proto) for proto in sorted(PROTOS.rglob("*.proto"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"protoc refused the protos:\n{done.stderr}")
