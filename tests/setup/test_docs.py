"""The documentation says what the code does, as far as that can be checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import to_jsonable_python
from typer.main import get_command

from webrtc_avatar import errors
from webrtc_avatar.cli import app
from webrtc_avatar.metrics import STAGES, Metrics
from webrtc_avatar.server import middleware
from webrtc_avatar.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def settings_table() -> str:
    """Return docs/configuration.md's table as it should stand there."""
    flags = {option for parameter in get_command(app).commands["serve"].params for option in parameter.opts}
    lines = ["| setting | flag | default | what it is |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        value = "none" if default is None else f"`{to_jsonable_python(default)}`".replace("'", '"')
        candidates = [f"--{name.replace('_', '-')}", f"--{name.removesuffix('s').replace('_', '-')}"]
        flag = next((f"`{flag}`" for flag in candidates if flag in flags), "")
        lines.append(f"| `{name}` | {flag} | {value} | {field.description} |")
    return "\n".join(lines)


def test_every_setting_is_listed_with_its_flag_and_default() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    written = text.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]
    assert written == settings_table()


def test_the_example_settings_file_is_valid(tmp_path: Path) -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    example = tmp_path / "display.toml"
    example.write_text(text.partition("```toml\n")[2].partition("```")[0])
    settings = Settings.from_file(example)
    assert settings.max_sessions == 4
    assert settings.ice_servers[1].username == "display"


def test_every_metric_and_stage_is_described() -> None:
    text = (DOCS / "operation.md").read_text("utf-8")
    for family in Metrics().registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{family.name}{suffix}`" in text
    for stage in STAGES:
        assert f"`{stage}`" in text


def error_types(base: type[errors.AvatarServerError]) -> Iterator[type[errors.AvatarServerError]]:
    """Yield the types of webrtc_avatar.errors below `base`; other modules' own are never sent."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from error_types(kind)


@pytest.mark.parametrize("kind", list(error_types(errors.AvatarServerError)), ids=lambda kind: kind.code)
def test_every_error_of_the_server_is_listed_with_its_status(kind: type[errors.AvatarServerError]) -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    assert re.search(rf"^\| `{kind.code}` \| {kind.status} \|", text, re.MULTILINE)


def test_every_code_for_errors_of_http_itself_is_listed() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    for status, code in middleware._CODES.items():
        assert re.search(rf"^\| `{code}` \| {status} \|", text, re.MULTILINE), code


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_command_in_the_readme_exists() -> None:
    commands = get_command(app).commands
    called = re.findall(r"python run\.py (\w+)", (ROOT / "README.md").read_text("utf-8"))
    assert set(called) <= {*commands, "test", "lint"}
