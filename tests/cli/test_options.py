"""Every option of every command takes effect, which the folder or the output shows, or is refused in one line.

The options are those that the application itself lists: one that is not in the tables below fails.
"""

import json
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from PIL import Image

from tests.conftest import random_tensors
from underpaint import cli
from underpaint.recipe import Recipe
from underpaint.storage.documents import write_json

SMALL = ["--size", "48", "--recipe", "fast.toml"]


def options_of(command):
    """Options by their first name, and arguments by theirs."""
    for parameter in typer.main.get_command(cli.app).commands[command].params if command else []:
        yield parameter.opts[0]
    if not command:
        yield from (p.opts[0] for p in typer.main.get_command(cli.app).params)


COMMANDS = ["", *typer.main.get_command(cli.app).commands]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with pictures, weights and a recipe of one step, in which commands are run."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("options")
    random = np.random.default_rng(0)
    for name in ("content", "style", "other", "third"):
        grain = random.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(grain).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    halves = np.zeros((48, 64), np.uint8)
    halves[:, 32:] = 255
    Image.fromarray(halves).save(folder / "mask.png")
    save_file(random_tensors(), folder / "tiny.safetensors")
    (folder / "fast.toml").write_text("iterations = [1]\n")
    (folder / "rate.toml").write_text("iterations = [1]\nrate = 0.01\n")
    return folder


@pytest.fixture(scope="module")
def call(workplace):
    """Runs a command there; gives exit code, standard output and standard error."""
    import contextlib
    import io

    def run(*words):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(workplace)
            patch.setattr("sys.argv", ["underpaint", *map(str, words)])
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def refused(call):
    def check(*words, says):
        code, out, err = call(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), (words, out, err)
        assert says in err, (words, err)

    return check


@pytest.fixture
def prepared(monkeypatch):
    """What a command prepared, instead of its being painted."""
    found = SimpleNamespace()

    def keep(made, quiet, as_json):
        found.made, found.quiet, found.as_json = made, quiet, as_json

    for room in ("paint", "explain"):
        for name in ("paint_on", "explain_on", "ablate_on"):
            monkeypatch.setattr(f"underpaint.cli.{room}.{name}", keep, raising=False)
    monkeypatch.setattr("underpaint.execution.device.computes_bf16", lambda _: True)
    return found


def at(facts, path):
    for part in path.split("."):
        facts = facts[int(part)] if isinstance(facts, list) else facts[part]
    return facts


def flat(table):
    """The words of a table of options: option -> (value, ...)."""
    return [word for option, (value, *_) in table.items() for word in ([option] if value is None else [option, value])]


FIELDS = {
    "--size": ("50", "size", 50),
    "--preset": ("gatys", "preset", "gatys"),
    "--iterations": ("2,1", "iterations", [2, 1]),
    "--optimizer": ("adam", "optimizer", "adam"),
    "--seed": ("7", "seed", 7),
    "--strength": ("0.7", "strength", 0.7),
    "--style-weight": ("2", "style_weight", 2.0),
    "--content-weight": ("0.3", "content_weight", 0.3),
    "--color-weight": ("0.2", "color_weight", 0.2),
    "--palette-weight": ("0.1", "palette_weight", 0.1),
    "--smoothness": ("3", "smoothness", 3.0),
    "--style-layers": ("relu1_1,relu2_1", "style_layers.relu1_1", 1.0),
    "--layer-weight": ("relu2_1=3", "style_layers.relu2_1", 3.0),
    "--content-layers": ("relu3_1", "content_layers", {"relu3_1": 1.0}),
    "--statistic": ("moments", "statistic", "moments"),
    "--style-scale": ("0.5", "style_scale", 0.5),
    "--pooling": ("average", "pooling", "average"),
    "--crop": (None, "crop", True),  # which gatys leaves
    "--keep-color": ("luminance", "keep_color", "luminance"),
    "--network": ("vgg19", "network", "vgg19"),
}
"""Options of `stylize` that are fields of the recipe: a value that is not the default, where the recipe has it, and what it
then says."""


@pytest.fixture(scope="module")
def fields_run(call, workplace):
    """A run with all of FIELDS, two styles, and what else goes with them."""
    more = ["--style-weights", "2,1", "--start", "noise", "--frames", "2", "--deterministic", "--threads", "1"]
    more += ["--weights", "tiny.safetensors", "--device", "cpu", "--precision", "float32"]
    code, out, err = call(
        "stylize", "content.png", "style.png", "other.png", *flat(FIELDS), *more, "--out", "fields", "--json"
    )
    assert code == 0, err
    return json.loads((workplace / "fields/run.json").read_text()), out, err


@pytest.fixture(scope="module")
def pictures_run(call, workplace):
    """A run with masks, polish and a recipe file."""
    masks = ["--content-mask", "mask.png", "--style-mask", "mask.png", "--protect", "mask.png", "--protect-weight", "9"]
    more = ["--polish", "1", "--weights", "tiny.safetensors", "--recipe", "rate.toml", "--no-crop", "--size", "48", "--quiet"]
    code, out, err = call("stylize", "content.png", "style.png", *masks, *more, "--out", "pictures")
    assert (code, out, err) == (0, "", "")
    return json.loads((workplace / "pictures/run.json").read_text())


@pytest.fixture(scope="module")
def plain_run(call, workplace):
    """A run of one step."""
    code, _, err = call("stylize", "content.png", "style.png", *SMALL, "--out", "plain")
    assert code == 0, err
    return json.loads((workplace / "plain/run.json").read_text())


def test_stylize(fields_run, pictures_run, plain_run, refused, workplace):
    facts, out, err = fields_run
    default = Recipe().model_dump(mode="json")
    checked = set(FIELDS)
    for option, (_, path, value) in FIELDS.items():
        assert at(facts["recipe"], path) == value, option
        if option != "--crop":
            assert default[path.partition(".")[0]] != at(facts["recipe"], path.partition(".")[0]), option
    assert [entry["name"] for entry in facts["inputs"]] == ["content.png", "style.png", "other.png"]
    told = {
        "content": facts["inputs"][0]["name"] == "content.png",
        "style": facts["inputs"][2]["name"] == "other.png",
        "--style-weights": facts["recipe"]["style_weights"] == [2.0, 1.0],
        "--start": facts["recipe"]["start"] == "noise",
        "--frames": facts["frames"] == 2 and list((workplace / "fields/frames").iterdir()),
        "--deterministic": facts["deterministic"],
        "--threads": facts["cores"]["asked"] == "1",
        "--weights": facts["networks"][0]["weights"] == "tiny.safetensors",
        "--precision": "precision" not in facts and "precision" in plain_run,  # how it was chosen
        "--json": json.loads(out)["folder"] == "fields" and err,
        "--out": (workplace / "fields/pastiche.png").exists(),
        "--polish": pictures_run["recipe"]["polish"] == 1,
        "--content-mask": pictures_run["inputs"][2]["role"] == "content_mask",
        "--style-mask": pictures_run["inputs"][3]["role"] == "style_mask",
        "--protect": pictures_run["inputs"][4]["role"] == "protect",
        "--protect-weight": pictures_run["recipe"]["protect_weight"] == 9,
        "--recipe": pictures_run["recipe"]["rate"] == 0.01,
        "--quiet": True,  # its run says nothing at all
    }
    assert [option for option, found in told.items() if not found] == []
    assert not pictures_run["recipe"]["crop"]
    refused("stylize", "content.png", "style.png", *SMALL, "--device", "tpu", "--out", "x", says="tpu")
    assert {*checked, *told, "--device", "--from"} == set(options_of("stylize"))


NOT_WITH_FROM = {
    "content": ["content.png"],
    "style": ["content.png", "style.png"],
    "--recipe": ["--recipe", "rate.toml"],
    "--start": ["--start", "content"],
    "--content-mask": ["--content-mask", "mask.png"],
    "--style-mask": ["--style-mask", "mask.png"],
    "--protect": ["--protect", "faces"],
    "--protect-weight": ["--protect-weight", "3", "--size", "64"],
    "--style-weights": ["--style-weights", "1,2", "--size", "64"],
}


def test_carrying_a_run_on(call, refused, plain_run, workplace):
    """The same options beside --from: none is dropped in silence."""
    for words in NOT_WITH_FROM.values():
        refused("stylize", "--from", "plain", *words, "--out", "x", says="")
        assert not (workplace / "x").exists()
    refused("stylize", "--from", "plain", "--out", "x", says="--size N")
    refused("stylize", "--from", "plain", "--size", "64", "--device", "tpu", "--out", "x", says="tpu")
    fields = FIELDS | {"--size": ("64", "size", 64)}
    more = ["--weights", "tiny.safetensors", "--threads", "1", "--precision", "float32", "--frames", "1", "--deterministic"]
    code, out, err = call("stylize", "--from", "plain", *flat(fields), *more, "--json", "--quiet", "--out", "larger")
    assert (code, err) == (0, "")
    facts = json.loads((workplace / "larger/run.json").read_text())
    assert [o for o, (_, path, value) in fields.items() if at(facts["recipe"], path) != value] == []
    assert json.loads(out)["folder"] == "larger"
    assert facts["networks"][0]["weights"] == "tiny.safetensors"
    assert (facts["frames"], facts["deterministic"], facts["cores"]["asked"]) == (1, True, "1")
    assert facts["recipe"]["start"] == "file"
    code, _, err = call(
        "stylize", "--from", "plain", "--size", "64", "--polish", "1", "--weights", "tiny.safetensors", "--out", "polished"
    )
    assert code == 0, err
    assert json.loads((workplace / "polished/run.json").read_text())["recipe"]["polish"] == 1
    others = {
        "--weights",
        "--threads",
        "--precision",
        "--frames",
        "--deterministic",
        "--json",
        "--quiet",
        "--out",
        "--polish",
    }
    assert {*fields, *NOT_WITH_FROM, *others, "--from", "--device"} == set(options_of("stylize"))


@pytest.fixture(scope="module")
def draft_run(call, workplace):
    """A run of a preset's own steps."""
    code, _, err = call("stylize", "content.png", "style.png", "--size", "48", "--preset", "draft", "--out", "draft")
    assert code == 0, err
    return workplace / "draft"


@pytest.mark.parametrize("preset", ["standard", "fine", "gatys"])
def test_another_preset_brings_its_own_numbers_to_a_run_that_is_carried_on(plain_run, draft_run, workplace, preset):
    """What nobody asked for goes with the old preset; what somebody asked for (one step) stays."""
    from underpaint.recipe import make
    from underpaint.runs.start import carry_on

    wanted = make({"preset": preset})
    carried = carry_on(draft_run, 64, out=workplace / f"unpainted-{preset}", preset=preset).recipe
    kept = {"size", "smallest", "start", "precision"}
    assert carried.model_dump(exclude=kept) == wanted.model_dump(exclude=kept)
    asked = carry_on(workplace / "plain", 64, out=workplace / f"asked-{preset}", preset=preset).recipe
    assert (asked.iterations, asked.preset) == ((1,), preset)


def test_a_recipe_file_keeps_its_own_numbers_beside_a_preset_and_it_is_said(call, prepared, workplace):
    code, _, err = call("stylize", "content.png", "style.png", *SMALL, "--preset", "fine", "--out", "said")
    assert code == 0
    assert (prepared.made.recipe.iterations, prepared.made.recipe.stop) == ((1,), 0.01)
    assert "fast.toml says iterations itself" in err


SHARED = {
    "--network": ("vgg19", "network", "vgg19"),
    "--size": ("48", "size", 48),
    "--preset": ("gatys", "preset", "gatys"),
    "--optimizer": ("adam", "optimizer", "adam"),
    "--seed": ("7", "seed", 7),
    "--strength": ("0.7", "strength", 0.7),
    "--style-layers": ("relu1_1,relu2_1", "style_layers.relu1_1", 1.0),
    "--layer-weight": ("relu2_1=3", "style_layers.relu2_1", 3.0),
    "--statistic": ("moments", "statistic", "moments"),
    "--protect-weight": ("9", "protect_weight", 9.0),
    "--crop": (None, "crop", True),
    "--recipe": ("rate.toml", "rate", 0.01),
    "--precision": ("bf16", "precision", "bf16"),
}
"""Options that `explain` and `ablate` have of `stylize`."""

BESIDES = ["--protect", "mask.png", "--weights", "tiny.safetensors", "--device", "cpu", "--threads", "1", "--quiet", "--json"]


def check_shared(made):
    facts = made.recipe.model_dump(mode="json")
    assert [o for o, (_, path, value) in SHARED.items() if at(facts, path) != value] == []
    assert made.scene.pictures.protect.name == "mask.png"
    assert made.scene.pictures.content.name == "content.png"
    assert made.scene.pictures.styles[0].name == "style.png"
    assert made.networks[0]["weights"] == "tiny.safetensors"
    assert made.options.cores.asked == "1"


def test_explain(call, refused, prepared, workplace):
    own = ["--seeds", "2", "--judge", "compact", "--sanity", "--workers", "2", "--out", "why"]
    code, _, err = call("explain", "content.png", "style.png", *flat(SHARED), *BESIDES, *own)
    assert code == 0, err
    check_shared(prepared.made.prepared)
    assert prepared.made.prepared.options.workers == 2
    settings = json.loads((workplace / "why/explain.json").read_text())
    assert (settings["seeds"], settings["judge"], settings["sanity"]) == (2, "compact", True)
    assert prepared.quiet
    assert prepared.as_json
    nine = "relu1_1,relu2_1,relu2_2,relu3_1,relu3_2,relu3_3,relu4_1,relu4_3,relu5_1"
    code, _, err = call(
        "explain", "content.png", "style.png", *SMALL, "--style-layers", nine, "--permutations", "6", "--out", "many"
    )
    assert code == 0, err
    assert json.loads((workplace / "many/explain.json").read_text())["permutations"] == 6
    refused("explain", "content.png", "style.png", *SMALL, "--permutations", "6", "--out", "x", says="--permutations")
    refused("explain", "content.png", "style.png", *SMALL, "--device", "tpu", "--out", "x", says="tpu")
    refused(
        "explain",
        "content.png",
        "style.png",
        *SMALL,
        "--judge",
        "vgg16",
        "--weights",
        "nowhere",
        "--out",
        "x",
        says="--weights",
    )
    arguments = {"content", "style", "--permutations", *(word for word in (*BESIDES, *own) if word.startswith("--"))}
    assert {*SHARED, *arguments} == set(options_of("explain"))


def test_ablate(call, refused, prepared, workplace):
    own = ["--configs", "all,drop:relu1_1", "--judge", "compact", "--workers", "2", "--out", "ablation"]
    code, _, err = call("ablate", "content.png", "style.png", *flat(SHARED), *BESIDES, *own)
    assert code == 0, err
    check_shared(prepared.made.prepared)
    assert prepared.made.prepared.options.workers == 2
    facts = json.loads((workplace / "ablation/ablation.json").read_text())
    assert list(facts["configs"]) == ["all", "drop:relu1_1"]
    assert (facts["judge"], facts["recipe"]["network"]) == ("compact", "vgg19")
    assert prepared.quiet
    assert prepared.as_json
    refused("ablate", "content.png", "style.png", *SMALL, "--device", "tpu", "--out", "x", says="tpu")
    arguments = {"content", "style", *(word for word in (*BESIDES, *own) if word.startswith("--"))}
    assert {*SHARED, *arguments} == set(options_of("ablate"))


def test_demo(call, refused, prepared, workplace):
    words = ["--photograph", "astronaut", "--style", "dunes", "--network", "vgg19", "--size", "48", "--preset", "gatys"]
    words += ["--device", "cpu", "--threads", "1", "--precision", "bf16", "--weights", "tiny.safetensors", "--frames", "3"]
    for more, folder in ([], "demo"), (["--explain"], "demo-why"):
        code, _, err = call("demo", *words, *more, "--out", folder, "--quiet", "--json")
        assert code == 0, err
        session = getattr(prepared.made, "session", prepared.made)
        recipe = session.recipe
        assert (recipe.network, recipe.size, recipe.preset, recipe.precision) == ("vgg19", 48, "gatys", "bf16")
        assert session.scene.pictures.content.name == "astronaut"
        assert session.scene.pictures.styles[0].name.startswith("dunes")
        assert session.prepared.networks[0]["weights"] == "tiny.safetensors"
        assert (session.options.frames, session.options.cores.asked) == (3, "1")
        assert prepared.quiet
        assert prepared.as_json
        assert (workplace / folder).exists()
    assert hasattr(prepared.made, "settings")
    refused("demo", "--device", "tpu", "--out", "x", says="tpu")
    told = {"--explain", "--out", "--quiet", "--json", *(word for word in words if word.startswith("--"))}
    assert told == set(options_of("demo"))


def test_resume(call, refused, prepared, plain_run, fields_run, workplace):
    folder = shutil.copytree(workplace / "fields", workplace / "stopped")
    facts = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", facts | {"status": "stopped"})
    again = [
        "--weights",
        workplace / "tiny.safetensors",
        "--threads",
        "2",
        "--device",
        "cpu",
        "--workers",
        "2",
        "--quiet",
        "--json",
    ]
    code, _, err = call("resume", "stopped", *again)
    assert code == 0, err
    session = prepared.made
    assert (session.options.cores.asked, session.options.weights) == ("2", workplace / "tiny.safetensors")
    assert session.folder.name == "stopped"
    assert prepared.quiet
    assert prepared.as_json
    refused("resume", "stopped", "--device", "tpu", says="tpu")
    refused("resume", "stopped", "--weights", "nowhere", says="nowhere")
    refused("resume", "plain", says="is finished")
    assert {"folder", *(word for word in again if str(word).startswith("--"))} == set(options_of("resume"))


def test_where_and_report_and_figures(call, refused, compact_explained, workplace):
    why = shutil.copytree(compact_explained.folder, workplace / "explained")
    code, out, _ = call("where", why, "--box", "2,3,20,20", "--out", "new.png", "--json")
    assert code == 0
    assert json.loads(out)["picture"] == "new.png"
    assert (workplace / "new.png").exists()
    refused("where", why, "--box", "900,3,20,20", says="box")
    assert set(options_of("where")) == {"folder", "--box", "--out", "--json"}
    code, out, err = call("report", why)
    assert (code, out, err) == (0, f"{why / 'report.html'}\n", "")
    refused("report", why, "--weights", "nowhere", says="nowhere")
    refused("report", why, "--weights", "tiny.safetensors", says="leave this out")
    refused("report", why, "--weights", ".", says="lpips_squeeze")
    assert set(options_of("report")) == {"folder", "--weights"}
    code, out, _ = call("figures", why, "--format", "svg", "--out", "drawn", "--json")
    assert code == 0
    assert json.loads(out)["folder"] == "drawn"
    assert (workplace / "drawn/shapley.svg").exists()
    refused("figures", why, "--format", "bmp", says="bmp")
    assert set(options_of("figures")) == {"folder", "--format", "--out", "--json"}


def test_save_compare_and_networks(call, refused, plain_run, workplace):
    assert call("save", "plain", "deep.png", "--bits", "16")[0] == 0
    refused("save", "plain", "deeper.png", "--bits", "12", says="12")
    assert set(options_of("save")) == {"folder", "file", "--bits"}
    words = ["plain", "--network", "vgg19", "--weights", "tiny.safetensors", "--out", "table.csv", "--quiet"]
    code, out, err = call("compare", *words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["network"] == "vgg19"
    assert (workplace / "table.csv").exists()
    code, out, _ = call("compare", "plain/pastiche.png", "--content", "other.png", "--style", "third.png", "--json")
    assert code == 0
    assert {json.loads(out)["rows"][0][key] for key in ("content", "style")} == {"other.png", "third.png"}
    refused("compare", "plain", "--content", "content.png", says="--content")
    refused("compare", "plain", "--device", "tpu", says="tpu")
    refused("compare", "plain", "--weights", "nowhere", says="nowhere")
    assert set(options_of("compare")) == {
        "pastiches",
        "--content",
        "--json",
        "--device",
        "--style",
        *words[1::2],
        "--quiet",
    } - {"tiny.safetensors"}
    code, out, _ = call("networks", "--weights", "tiny.safetensors", "--json")
    assert code == 0
    assert json.loads(out)[1]["weights"] == "tiny.safetensors"
    assert set(options_of("networks")) == {"name", "--fetch", "--weights", "--json"}


def test_studio(call, monkeypatch, workplace):
    server = pytest.importorskip("underpaint.studio.server")
    found = SimpleNamespace()

    @contextmanager
    def listen(host, port):
        found.listening = host, port
        yield None

    def serve(runner, listener, place, *more):
        found.runner, found.place, found.more = runner, place, more

    monkeypatch.setattr(server, "listen", listen)
    monkeypatch.setattr(server, "serve", serve)
    words = [
        "--port",
        "7999",
        "--runs",
        "kept",
        "--host",
        "127.0.0.2",
        "--host-name",
        "a.example",
        "--host-name",
        "b.example",
        "--root-path",
        "/studio",
        "--owner",
    ]
    words += ["--workers", "3", "--max-size", "512", "--device", "cpu", "--weights", "tiny.safetensors"]
    code, _, err = call("studio", *words)
    assert code == 0, err
    runner = found.runner
    assert found.listening == ("127.0.0.2", 7999)
    assert found.place == server.Place(["a.example", "b.example"], "/studio", owned=True)
    assert (runner.limits.size, runner.device, runner.weights.name) == (512, "cpu", "tiny.safetensors")
    assert (workplace / "kept").is_dir()
    assert {word for word in words if word.startswith("--")} == set(options_of("studio"))


def test_every_command_and_the_application_have_a_table(call):
    tested = {"stylize", "resume", "save", "demo", "networks", "explain", "where", "ablate", "report", "figures", "compare"}
    assert {*tested, "studio"} == set(COMMANDS) - {""}
    assert set(options_of("")) == {"--version", "--install-completion", "--show-completion"}  # test_cli.py has these
