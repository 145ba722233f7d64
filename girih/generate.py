"""Makes the stubs and the descriptor set from `protos/`. Knows protoc, and no service.

Only for a checkout and for builds: no wheel has it. What it takes to make them is imported when
something is to be made, since every process that starts asks whether.
"""

import hashlib
from pathlib import Path

import google.protobuf

PACKAGE = Path(__file__).resolve().parent
PROTOS = PACKAGE.parent / "protos"

_DESCRIPTOR_SET = PACKAGE / "descriptors.binpb"
_DIGEST = PACKAGE / ".digest"
_LOCK = PACKAGE / ".lock"


def ensure() -> bool:
    """Generate when the stubs do not fit the protos. Answers whether it had to.

    Safe from many processes at once: one generates, the others wait for it. Costs about
    a millisecond when nothing changed and a second when something did.
    """
    # An unpacked source distribution has none: its stubs are made.
    if not (PROTOS / "girih").is_dir():
        return False
    digest = _digest()
    if _generated() == digest:
        return False
    import fcntl

    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _generated() == digest:
            return False
        _generate()
        _DIGEST.write_text(digest)
    return True


def _digest() -> str:
    """A digest of everything the stubs are made from: the protos and the generators."""
    hasher = hashlib.sha256(f"{_tools_version()} {google.protobuf.__version__}".encode())
    hasher.update(Path(__file__).read_bytes())
    for proto in sorted(PROTOS.rglob("*.proto")):
        hasher.update(str(proto.relative_to(PROTOS)).encode())
        hasher.update(proto.read_bytes())
    return hasher.hexdigest()


def _tools_version() -> str:
    """That of grpcio-tools, which stubs refuse to run without or with an older gRPC."""
    # Asking the metadata of the environment takes longer than all the rest.
    from grpc_tools.grpc_version import VERSION  # type: ignore[import-untyped] # has no types

    return str(VERSION)


def _generated() -> str:
    return _DIGEST.read_text() if _DIGEST.exists() and _DESCRIPTOR_SET.exists() else ""


def _generate() -> None:
    """Generate beside the old stubs, then put the new ones in their place."""
    import shutil
    import tempfile

    _DIGEST.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGE, prefix=".new-") as temporary:
        new = Path(temporary)
        _protoc(new)
        # Beside their stubs, where protoc looks for what other contracts import.
        for proto in PROTOS.rglob("*.proto"):
            shutil.copyfile(proto, new / proto.relative_to(PROTOS))
        for old in PACKAGE.iterdir():
            if old.is_dir() and (old / "v1").is_dir():
                shutil.rmtree(old)
        for made in (new / "girih").iterdir():
            made.rename(PACKAGE / made.name)
        (new / _DESCRIPTOR_SET.name).rename(_DESCRIPTOR_SET)


def _protoc(target: Path) -> None:
    import subprocess
    import sys
    from importlib.resources import files

    from google.api import http_pb2

    well_known = files("grpc_tools") / "_proto"
    annotations = Path(http_pb2.__file__).parent.parent.parent
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{PROTOS}", f"-I{annotations}", f"-I{well_known}"),
        *(f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}"),
        *(f"--plugin=protoc-gen-mypy_grpc={_grpc_types()}", f"--mypy_grpc_out=quiet:{target}"),
        *("--include_imports", "--include_source_info"),
        f"--descriptor_set_out={target / _DESCRIPTOR_SET.name}",
        *(str(proto) for proto in sorted(PROTOS.rglob("*.proto"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"protoc refused the protos:\n{done.stderr}")


def _grpc_types() -> str:
    """The plugin that writes the types of gRPC's stubs, which protoc does not."""
    import os
    import shutil
    import sys

    # An environment need not be activated, and a build has its own in front of it.
    path = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    plugin = shutil.which("protoc-gen-mypy_grpc", path=path)
    if plugin is None:
        raise RuntimeError("stubs need mypy-protobuf: install requirements.txt")
    return plugin
