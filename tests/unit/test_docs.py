"""The documentation names what is there: modules, layers, and the headings that the code cites."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/netsandbox"
_CODE = re.compile(r"`([^`\n]+)`")
_CITATION = re.compile(r'(docs/[\w/-]+\.md)(?:, "([^"]+)")?')


def _rooms() -> dict[str, str]:
    """Return the rows of the table of rooms: the first cell and the whole row."""
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## The rooms")[1].split("\n## ")[0]
    return {line.split("|")[1]: line for line in section.splitlines() if line.startswith("| `")}


def test_architecture_lists_every_layer_in_order() -> None:
    """docs/architecture.md lists the layers of the import contract, from top to bottom."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(item for item in config["tool"]["importlinter"]["contracts"] if item["type"] == "layers")
    layers = [{name.strip(" ()") for name in re.split("[|:]", layer)} for layer in contract["layers"]]
    rooms = [name.rstrip("/").removesuffix(".py") for cell in _rooms() for name in _CODE.findall(cell)]
    assert sorted(rooms) == sorted(name for layer in layers for name in layer)
    numbers = [next(number for number, layer in enumerate(layers) if name in layer) for name in rooms]
    assert numbers[:-1] == sorted(numbers[:-1])  # the last one, testing, is beside the faces


def test_architecture_names_only_files_that_exist() -> None:
    """Files that docs/architecture.md and CONTRIBUTING.md name exist, and the larger rooms name all of theirs."""
    for cell, row in _rooms().items():
        folder = SOURCE / _CODE.findall(cell)[0] if "/`" in cell else SOURCE
        named = [name for name in _CODE.findall(row) if name.endswith(".py") and "/" not in name]
        assert [name for name in named if not (folder / name).exists() and not (SOURCE / name).exists()] == []
        if folder.name in {"_run", "_plan", "_system", "_events"}:
            assert {file.name for file in folder.glob("*.py")} - {"__init__.py"} == {*named}
    for document in ("docs/architecture.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        named = [name for name in _CODE.findall(text) if re.fullmatch(r"[\w./-]*/[\w./-]*|\w+\.py", name)]
        missing = [name for name in named if not (ROOT / name).exists() and not (SOURCE / name).exists()]
        in_rooms = {name for row in _rooms().values() for name in _CODE.findall(row)}
        assert [name for name in missing if name not in in_rooms and not name.startswith("/")] == []


def test_architecture_names_only_what_is_defined() -> None:
    """Each class and function that the sections of docs/architecture.md on the flow name is defined in src."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## The rooms")[0]
    source = "".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    named = {name for name in _CODE.findall(text) if re.fullmatch(r"[A-Za-z_]+(\.(?!py$)[a-z_]+)?", name)}
    assert len(named) > 8
    assert [n for n in named if not re.search(rf"(?m)^ *(def|class) {n.rpartition('.')[2]}\b", source)] == []


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples", "fuzz"])
def test_citations_of_documents_lead_somewhere(folder: str) -> None:
    """Each document and heading that a comment or docstring cites exists."""
    wrong = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        text = re.sub(r"\n\s*(?:# )?", " ", file.read_text(encoding="utf-8"))
        for document, heading in _CITATION.findall(text):
            page = ROOT / document
            lines = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
            if not lines or (heading and not {f"## {heading}", f"### {heading}"} & {*lines}):
                wrong.append(f"{file.relative_to(ROOT)}: {document}, {heading!r}")
    assert wrong == []
