"""The dashboard as code: what is in it, that runs log it, and that a server is given it."""

import json
import re

import pytest
import wandb
from command import call, done
from loopback import Loopback
from wandb.errors import CommError

from fer.dashboards.workspace import as_json, chapters, workspace

ORDER = [
    *("Learning", "Test", "Confusion", "Angles and stages", "Neural collapse"),
    *("Pruning", "Sweep", "Gradients", "System"),
]


class Boards(Loopback):
    """A server that keeps the views it is sent, too."""

    def __init__(self):
        super().__init__()
        self.views = []

    def _get_default_entity(self, v):
        return {"viewer": {"id": "1", "entity": "team"}}

    def _get_projects(self, v):
        return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": []}}

    def _create_project(self, v):
        project = {"id": "1", "name": v["input"]["name"], "entityName": "team", "description": None}
        project |= {"access": "PRIVATE", "views": "{}"}
        return {"result": {"project": project, "model": project, "inserted": True}}

    def _upsert_view(self, v):
        self.views.append(v)
        project = {"id": "1", "name": v["projectName"], "entityName": v["entityName"]}
        return {"upsertView": {"view": v | {"id": "1", "project": project}, "inserted": True}}

    _upsert_view2 = _upsert_view


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A W&B on the loopback, and an account there."""
    with Boards() as boards:
        for name, value in boards.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # the client has read the environment, and must again
        yield boards
    wandb.teardown()


def sections(spec):
    return spec["section"]["panelBankConfig"]["sections"]


def test_the_sections_are_in_the_order_in_which_one_asks():
    spec = json.loads(as_json("fer", "me"))["workspace"]["spec"]
    assert [section["name"] for section in sections(spec)] == ORDER
    assert [section["name"] for section in sections(spec) if section["isOpen"]] == ORDER[:4]
    assert spec["section"]["settings"]["xAxis"] == "epoch"
    assert spec["section"]["settings"]["shouldAutoGeneratePanels"] is False


def test_curves_are_over_epochs_and_machines_over_seconds():
    for chapter in chapters():
        axes = {panel.x for panel in chapter.panels if type(panel).__name__ == "LinePlot"}
        assert axes <= ({"RelativeTime(Process)"} if chapter.name == "System" else {"epoch"})


def test_a_setting_keeps_its_dots():
    """Logged flat, ``model.lr`` is a name; as a path it would be the lr of a setting called model."""
    spec = json.loads(as_json("fer", "me", ["model.lr", "data.batch_size"]))["workspace"]["spec"]
    (sweep,) = [section for section in sections(spec) if section["name"] == "Sweep"]
    columns = sweep["panels"][0]["config"]["columns"]
    assert [(column["accessor"], column.get("log")) for column in columns] == [
        ("config:model.lr.value", True),
        ("config:data.batch_size.value", None),
        ("summary:val/acc_best", None),
    ]
    assert sweep["panels"][1]["config"]["targetKey"] == "val/acc_best"


def test_the_report_has_the_same_chapters():
    blocks = json.loads(as_json("fer", "me"))["report"]["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    grids = [block for block in blocks if block["type"] == "panel-grid"]
    assert headings == ORDER
    assert [len(grid["metadata"]["panelBankSectionConfig"]["panels"]) for grid in grids] == [
        len(chapter.panels) for chapter in chapters()
    ]


@pytest.mark.slow
def test_a_server_is_given_both(server):
    called = call("dashboard", "--project", "faces")
    assert called.status == 0, called.err  # where W&B's client says who is logged in
    by_type = {view["type"]: view for view in server.views}
    assert by_type.keys() == {"project-view", "runs"}
    assert {(view["entityName"], view["projectName"]) for view in server.views} == {("team", "faces")}
    assert [section["name"] for section in sections(json.loads(by_type["project-view"]["spec"]))] == ORDER
    assert re.search(r"workspace +http://127\.0\.0\.1:\d+/team/faces\?nw=\w+", called.out)
    assert re.search(
        r"report +http://127\.0\.0\.1:\d+/team/faces/reports/Hidden-neurons:-training,-angles-and-pruning--\w+",
        called.out,
    )


def refuse():
    raise CommError("permission denied")


def test_a_server_that_refuses_is_quoted_in_one_message(server, monkeypatch):
    monkeypatch.setattr(wandb, "Api", refuse)
    called = call("dashboard", "--project", "theirs")
    assert called.status == 2
    assert "error: W&B refuses the dashboard of theirs: permission denied; check --project" in called.err
    assert server.views == []


def test_without_an_account_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("fer.commands.dashboard.is_logged_in", lambda: False)
    called = call("dashboard")
    assert called.status == 2
    assert "`wandb login`" in called.err
    assert called.err.count("\n") == 1


def test_without_an_account_it_is_written(tmp_path):
    out = done("dashboard", "--json", "boards/spec.json", "--entity", "team", "--parameters", "model.dropout")
    assert out == "dashboard    boards/spec.json\n"
    spec = json.loads((tmp_path / "boards" / "spec.json").read_text())
    assert (spec["workspace"]["entity"], spec["workspace"]["project"]) == ("team", "fer")
    assert "config:model.dropout.value" in json.dumps(spec["workspace"])


def test_a_workspace_has_an_account_and_a_project():
    view = workspace("faces", "me")
    assert (view.entity, view.project, view.auto_generate_panels) == ("me", "faces", False)
