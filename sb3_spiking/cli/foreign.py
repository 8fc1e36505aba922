"""Recognition of files that are no agents, by their first bytes and member names."""

import zipfile
from pathlib import Path

from sb3_spiking.conversion.saving import DESCRIPTION
from sb3_spiking.printable import printable
from sb3_spiking.reading.zip_files import open_archive

PICKLES = {
    b"VecNormalize": "holds the statistics of VecNormalize; --vec-normalize takes them beside the agent's zip file",
    b"ReplayBuffer": "is a replay buffer; pass the zip file that model.save has written",
    b"": "is a pickle, which is not read; pass the zip file that model.save has written",
}
"""Class named at the start of a pickle -> description."""

STARTS = {
    b"\x93NUMPY": "is an array of NumPy; --observations of convert takes states",
    b"\x89PNG": "is a picture",
    b"GIF8": "is a film",
    b"{": "is JSON; if convert has written it, the network is in the zip file beside it",
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
}
HEAD = 2**16
"""Number of bytes within which a pickle of SB3 names its class."""


def check_agent(path: Path) -> None:
    """
    Check that a file may be an agent: a zip file written by model.save or convert.

    :param path: any path
    :raises ValueError: if it is something else; the message describes the file
    """
    found = foreign(path)
    if found is not None:
        raise ValueError(printable(f"{path} {found}"))


def foreign(path: Path) -> str | None:
    """
    Describe a file that is no agent.

    :param path: any path
    :return: predicate of a sentence about the file; None for agents, and for zip files too damaged to recognise
    """
    if path.is_dir():
        inside = [file.name for file in sorted(path.glob("*.zip"))]
        return f"is a folder; pass a zip file{' in it: ' + ', '.join(inside[:5]) if inside else ''}"
    if not path.exists():
        completed = path.with_name(f"{path.name}.zip")
        return f"does not exist: no such file{f'; did you mean {completed}?' if completed.is_file() else ''}"
    if not path.is_file():
        return "is no regular file"
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty; save or download it again"
    if head.startswith(b"PK"):
        return _foreign_zip(path)
    if head.startswith(b"\x80"):
        return next(text for name, text in PICKLES.items() if name in head)
    known = next((text for start, text in STARTS.items() if head.startswith(start)), None)
    return known or "is no zip file written by model.save or sb3-spiking convert"


def _foreign_zip(path: Path) -> str | None:
    try:
        with open_archive(path) as archive:
            names = list(archive.members)
    except (ValueError, zipfile.BadZipFile):
        return None
    if "data" in names or DESCRIPTION in names:
        return None
    if any(name.endswith("data.pkl") for name in names):
        return "holds weights alone, as policy.save and torch.save write them; pass the zip file that model.save writes"
    if names and all(name.endswith(".npy") for name in names):
        return "holds arrays of NumPy; --observations of convert takes states"
    inner = [name for name in names if name.endswith(".zip")]
    return f"is a zip file of other files{': unpack ' + inner[0] if inner else ''}, and no agent"
