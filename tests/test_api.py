"""What users hold on to: names, import cost, the error tree, the documents."""

from __future__ import annotations

import inspect
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import placewise
from placewise import cli, errors
from placewise.gallery_schema import GALLERY_FORMAT

ROOT = Path(__file__).parents[1]


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    """Every command by its full name, groups included."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


def test_the_public_names_are_these() -> None:
    """Adding or removing a public name is a deliberate change of this list."""
    assert placewise.__all__ == [
        "MODELS",
        "Aim",
        "Answer",
        "Cache",
        "Calibration",
        "Embedder",
        "Evaluation",
        "Examination",
        "FileState",
        "Filter",
        "Finding",
        "Gallery",
        "GalleryFile",
        "Hit",
        "Locator",
        "Look",
        "ModelCard",
        "Photo",
        "PlacewiseError",
        "Position",
        "Source",
        "calibrate_gallery",
        "compare_files",
        "embed_photos",
        "evaluate_source",
        "examine",
        "export_npz",
        "fit_model",
        "import_npz",
        "index_source",
        "load_model",
        "read_source",
        "score_predictions",
        "write_findings",
        "write_report",
    ]


@pytest.mark.parametrize("name", placewise.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """Each name resolves, whatever was imported before, to something with a docstring."""
    value = getattr(placewise, name)

    assert not inspect.ismodule(value)
    assert value.__doc__ or name.isupper()  # a table is documented where it stands


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typo is not silently None, and the lazy names are listed."""
    with pytest.raises(AttributeError, match=r"^module 'placewise' has no attribute 'Galery'$"):
        placewise.Galery  # noqa: B018  # the access is the test
    assert dir(placewise) == sorted(placewise.__all__)


@pytest.mark.parametrize("statement", ["import placewise", "import placewise.cli"])
def test_importing_brings_nothing_heavy(statement: str) -> None:
    """Neither the package nor the command line imports an engine, a decoder or NumPy before it is used."""
    heavy = ("openvino", "cv2", "onnx", "faiss", "PIL", "numpy", "jinja2", "sqlite3", "urllib.request")
    script = f"import sys; {statement}; print([name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_error_tree_is_drawn_as_it_is() -> None:
    """Every error of the module is in the drawing at its head, under its base class."""
    drawn = re.findall(r"^(?P<indent>[│├└─ …]*)(?P<name>\w+Error)", errors.__doc__ or "", re.MULTILINE)
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}

    assert {name for _, name in drawn} == classes.keys()
    stack: list[tuple[int, str]] = []
    for indent, name in drawn:
        while stack and stack[-1][0] >= len(indent):
            stack.pop()
        if stack:
            assert classes[name].__base__ is classes[stack[-1][1]], name
        stack.append((len(indent), name))


@pytest.mark.parametrize(("name", "command"), commands(cli.app).items())
def test_every_command_is_documented(name: str, command: click.Command) -> None:
    """Each command has help with an example, a help text for each option, and a place in the README."""
    if not isinstance(command, click.Group):
        assert f"placewise {name}" in (command.help or ""), "no example"
        assert f"placewise {name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_every_variable_is_documented() -> None:
    """Each environment variable that the code reads is explained in the README, or where the service is."""
    readme = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/serving.md"))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))

    for variable in set(re.findall(r"PLACEWISE_[A-Z_]+", code)):
        assert variable in readme, variable


def test_the_gallery_format_is_documented() -> None:
    """Each table and column of a gallery, its version and its mark are in the document, and nothing else is."""
    text = (ROOT / "docs" / "gallery-format.md").read_text(encoding="utf-8")
    db = sqlite3.connect(":memory:")
    for statement in GALLERY_FORMAT.schema.split(";"):
        db.execute(statement)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - {
        "sqlite_sequence"
    }
    columns = {(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")}
    db.close()
    documented, table = set(), ""
    for first, second in re.findall(r"^\| (?:(`[a-z]+`) )?\| (`[^|]*) \|", text, re.MULTILINE):
        table = first.strip("`") or table
        documented |= {(table, column) for column in re.findall(r"`(\w+)`", second)}

    assert documented == columns
    assert f"now **{GALLERY_FORMAT.version}**" in text
    assert f"`{GALLERY_FORMAT.application_id:#x}`" in text


def test_the_versions_agree() -> None:
    """The changelog has an entry for the version that is packaged."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_requirements_are_pinned_by_hash_and_name_no_address() -> None:
    """Each requirement has an exact version and hashes, and no file says where to get it from."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        entries = re.split(r"\n(?=\S)", text.strip())

        assert "://" not in text
        assert "index-url" not in text
        for entry in entries:
            if not entry.startswith("#"):
                assert re.match(r"[\w.-]+==\S+", entry), entry
                assert "--hash=sha256:" in entry, entry


def test_the_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example is run as it stands, on photos laid out as it says."""
    from placewise.town import render_town

    monkeypatch.chdir(tmp_path)
    render_town(tmp_path / "photos", places=4, unknown_places=1, gallery_views=2, query_views=1, size=(240, 180))
    query = next((tmp_path / "photos").rglob("*.jpg"))
    query.rename(tmp_path / "where.jpg")
    (tmp_path / "photos" / "manifest.csv").write_text(
        "\n".join(
            line
            for line in (tmp_path / "photos" / "manifest.csv").read_text(encoding="utf-8").splitlines()
            if query.name not in line or query.parent.name not in line
        ),
        encoding="utf-8",
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)

    exec(compile(example, "README.md", "exec"), {})  # noqa: S102  # the README is ours

    assert len(example.strip().splitlines()) <= 12
    assert capsys.readouterr().out.strip()
