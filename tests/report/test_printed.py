"""What is printed to be typed works when it is: commands in a real bash, lines of Python in Python, with names that a shell
or a markup would read as something else; and it makes the same bytes."""

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import underpaint
from underpaint import cli, commands
from underpaint.recipe import Recipe, make, said, to_toml
from underpaint.report import methods, reproduce
from underpaint.report.folder import Evidence

AWKWARD = [
    "my photo $(id).png",
    '-it\'s "so" `ls`.png',
    "[b]old[/b] & <b>.png",
    "a_$b$_%s;#~!*?\\.png",
    "two\nlines\t.png",
    "é×  ø.png",
]
FOLDER = "run of $(id) [x] 'it' \"is\" & <b>"
QUICK = {"size": 48, "iterations": (2,), "smoothness": 3.25, "device": "cpu"}


@pytest.fixture
def bash(tmp_path, monkeypatch):
    """Runs lines in bash as they stand; each `underpaint` in them is run here, in the same folder, with the words and the
    standard input that bash made of them. Gives exit code and output of the last."""
    shim = tmp_path / "bin" / "underpaint"
    shim.parent.mkdir()
    told = tmp_path / "told"
    shim.write_text(
        f'#!/bin/bash\nprintf "%s\\0" "$PWD" "$@" > {shlex.quote(str(told))}\n[ -t 0 ] || cat > {shlex.quote(str(told))}.in\n'
    )
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)

    def run(lines, folder):
        told.unlink(missing_ok=True)
        path = f"{shim.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", lines],
            cwd=folder,
            env=os.environ | {"PATH": path},
            input="",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), (lines, done.stderr)
        where, *words = told.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(where)
            patch.setattr("sys.argv", ["underpaint", *words])
            patch.setattr("sys.stdin", io.StringIO((tmp_path / "told.in").read_text()))
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def pictures(tmp_path):
    """A picture under every awkward name."""
    random, found = np.random.default_rng(0), []
    (tmp_path / "in").mkdir()
    for name in AWKWARD:
        grain = random.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        found.append(tmp_path / "in" / name)
        found[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(grain).resize((64, 48), Image.Resampling.BICUBIC).save(found[-1])
    return found


def commands_in(text):
    """Every command that a text ends with, or holds on a line of its own."""
    return re.findall(
        r"(?:^|: )(underpaint (?:stylize|explain|ablate|resume|save|report|compare|figures|where) .*)$", text, re.M
    )


@pytest.mark.parametrize("name", AWKWARD)
def test_bash_reads_a_quoted_word_as_it_was(name):
    told = subprocess.run(["bash", "-c", f"printf %s {commands.quoted(name)}"], capture_output=True, check=True).stdout
    assert told == name.encode()
    assert "\n" not in commands.quoted(name)


def test_bash_reads_every_byte_of_a_name():
    names = [bytes([b]) for b in range(1, 256)] + [b"\xff\xfe a", b"a\xc3\xa9\xc3", b"'\\\xf0"]
    words = [commands.quoted(os.fsdecode(raw)) for raw in names]
    told = subprocess.run(["bash", "-c", r"printf '%s\0' " + " ".join(words)], capture_output=True, check=True).stdout
    assert told.split(b"\0")[:-1] == names
    assert all(word.encode().decode().isprintable() for word in words)


def test_a_path_is_never_an_option():
    assert commands.command("save", Path("-x"), Path("b c")) == "underpaint save ./-x 'b c'"


@pytest.mark.parametrize("folder", [FOLDER, "-a", "two\nlines"])
def test_every_message_about_a_folder_ends_with_a_command_that_works(bash, pictures, tmp_path, monkeypatch, folder):
    """A run that is stopped, resumed, finished, painted anew, carried on: what each error says is done next."""
    monkeypatch.chdir(tmp_path)
    start = commands.command("stylize", *pictures[:2], "--out", Path(folder), "--size", 48, "--device", "cpu")
    recipe = " --recipe - <<'TOML'\niterations = [2]\nTOML"
    session = underpaint.start(*pictures[:2], out=folder, **QUICK)
    next(iter(session))  # stopped after a step: closed as it is collected
    del session
    code, _, err = bash(start + recipe, tmp_path)
    assert code == 2
    (line,) = commands_in(err)
    assert bash(line, tmp_path)[0] == 0
    assert json.loads((tmp_path / folder / "run.json").read_text())["status"] == "finished"
    for line in (start + recipe, commands.resume(Path(folder))):
        code, _, err = bash(line, tmp_path)
        (larger,) = commands_in(err)
        assert code == 2
        assert "--size 96" in larger
    assert bash(larger, tmp_path)[0] == 0
    assert (tmp_path / f"{folder}-96/pastiche.png").exists()


def test_the_pages_command_and_the_lines_of_python_make_the_same_bytes(bash, pictures, tmp_path, monkeypatch):
    """Of a run of files with masks, in bash and in Python."""
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save("mask.png")
    masks = {"content_mask": "mask.png", "style_mask": "mask.png", "protect": mask}
    run = underpaint.stylize(*pictures[2:4], out=FOLDER, keep_color="luminance", seed=3, frames=1, **masks, **QUICK)
    check_again(bash, run.folder, monkeypatch)


def test_of_a_carried_run_and_of_arrays_too(bash, tmp_path, monkeypatch):
    """Inputs that were never files."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    content, style = (random.random((40, 40, 3), np.float32) for _ in range(2))
    underpaint.stylize(content, style, out="small", **QUICK)
    check_again(bash, underpaint.carry_on("small", 64, out="large").finish().folder, monkeypatch)


def test_of_several_styles_and_of_noise(bash, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {
        "style_weights": (2, 1),
        "start": "noise",
        "preset": "gatys",
        "optimizer": "adam",
        "crop": True,
        "statistic": "sliced",
    }
    run = underpaint.stylize(pictures[0], pictures[1:3], out="several", **QUICK | more)
    check_again(bash, run.folder, monkeypatch)


def check_again(bash, folder, monkeypatch):
    """The command and the lines of Python, run in the folder."""
    folder = folder.resolve()
    evidence, painted = Evidence(folder), (folder / "pastiche.png").read_bytes()
    line = reproduce.command(evidence)
    code, _, err = bash(line, folder)
    assert code == 0, (line, err)
    assert (folder / "again/pastiche.png").read_bytes() == painted
    assert Evidence(folder / "again").recipe.digest() == evidence.recipe.digest()
    shutil.rmtree(folder / "again")
    monkeypatch.chdir(folder)
    exec(compile(reproduce.python(evidence), "printed", "exec"), {})
    assert (folder / "again/pastiche.png").read_bytes() == painted


def test_an_ablation_and_an_explanation_are_made_again(bash, pictures, tmp_path, monkeypatch):
    """To the last bit of every coalition; stopped in between, the command that is then printed goes on."""
    monkeypatch.chdir(tmp_path)
    layers = {"style_layers": {"relu1_1": 1.0, "relu3_1": 2.0}}
    made = underpaint.ablate(*pictures[:2], out="ablation", configs=["all", "drop:relu1_1"], **QUICK | layers)
    code, out, err = bash(reproduce.command(Evidence(made.folder)), tmp_path / "ablation")
    assert code == 0, err
    assert same_coalitions(tmp_path / "ablation", tmp_path / "ablation/again")
    (tmp_path / "ablation/again/coalitions.csv").unlink()
    (tmp_path / "ablation/again/ablation.csv").unlink()
    code, out, err = bash(commands.resume(Path("ablation/again")), tmp_path)
    assert code == 0, err
    assert "drop:relu1_1" in out
    assert same_coalitions(tmp_path / "ablation", tmp_path / "ablation/again")
    assert "resume" in refusal(lambda: underpaint.start(*pictures[:2], out="ablation", size=48))


def same_coalitions(one, other):
    names = sorted(path.name for path in (one / "coalitions").glob("*.png"))
    return names and all((one / "coalitions" / n).read_bytes() == (other / "coalitions" / n).read_bytes() for n in names)


def refusal(action):
    with pytest.raises(underpaint.UnderpaintError) as caught:
        action()
    return str(caught.value)


def test_the_command_of_an_explanation_is_the_one_that_was_given(compact_explained, bash, tmp_path, monkeypatch):
    """Painted it would take long: it is prepared, and is the same run by the same settings."""
    folder = shutil.copytree(compact_explained.folder, tmp_path / FOLDER)
    found = []
    for room in ("paint", "explain"):
        monkeypatch.setattr(f"underpaint.cli.{room}.explain_on", lambda made, *_: found.append(made))
    code, _, err = bash(reproduce.command(Evidence(folder)), folder)
    assert code == 0, err
    assert found[0].prepared.recipe.digest() == compact_explained.run.recipe.digest()
    assert found[0].settings == Evidence(folder).settings
    for role, picture in Evidence(folder).inputs.by_role().items():
        assert np.array_equal(found[0].prepared.scene.pictures.by_role()[role].rgb, picture.rgb)
    monkeypatch.setattr("underpaint.explain", lambda *files, **given: found.append((files, given)))
    monkeypatch.chdir(folder)
    exec(compile(reproduce.python(Evidence(folder)), "printed", "exec"), {})
    files, given = found[1]
    assert all((folder / file).is_file() for file in files)
    assert (given["size"], given["iterations"]) == (64, [12])


def test_what_is_not_finished_says_how_to_go_on(compact_explained, bash, tmp_path, monkeypatch):
    folder = shutil.copytree(compact_explained.folder, tmp_path / FOLDER)
    (folder / "validation.json").unlink()
    (folder / "pastiche.png").unlink()
    told = [refusal(lambda: underpaint.Explanation.load(folder)), refusal(lambda: Evidence(folder).validation)]
    told += [err for line in ("where . --box 1,1,9,9", "compare .") for _, _, err in [bash(f"underpaint {line}", folder)]]
    assert len(told) == 4
    monkeypatch.setattr("underpaint.cli.paint.explain_on", lambda made, *_: None)
    for message in told:
        (line,) = commands_in(message.strip())
        assert bash(line, folder)[0] == 0, line


def test_stopping_says_how_to_go_on_with_the_weights_that_were_named(bash, pictures, tiny_weights, tmp_path, monkeypatch):
    from underpaint.cli import bars

    weights = tmp_path / "my $(id) weights.safetensors"
    tiny_weights.rename(weights)
    monkeypatch.chdir(tmp_path)

    @contextlib.contextmanager
    def stopping(*_):
        def show(step):
            raise KeyboardInterrupt

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(bars, "painting", stopping)
        words = [
            "stylize",
            *pictures[:2],
            "--network",
            "vgg19",
            "--weights",
            weights,
            "--size",
            48,
            "--out",
            Path(FOLDER),
        ]
        code, _, err = bash(commands.command(*words) + " --recipe - <<'TOML'\niterations = [3]\nTOML", tmp_path)
    assert code == 130
    (line,) = commands_in(err.strip())
    facts = tmp_path / FOLDER / "run.json"
    assert json.loads(facts.read_text())["status"] == "stopped"
    code, _, err = bash(line, tmp_path)
    assert code == 0, err
    assert json.loads(facts.read_text())["status"] == "finished"


def test_a_recipe_reads_back_from_toml_as_it_was():
    random = np.random.default_rng(0)
    values = [
        True,
        False,
        0,
        -7,
        1e-5,
        0.1,
        1e22,
        123456789.125,
        float("inf"),
        "",
        'a "b" \\ \n\t\x00\x1f\x7f é 😀 [x] #',
        [],
        [1, [2.5, "x"]],
    ]
    values += [
        {},
        {"relu1_1": 4.0, 'a.b c"': 1},
        *random.normal(size=20).tolist(),
        *(10.0 ** random.integers(-300, 300, 20)).tolist(),
    ]
    fields = {f"field_{place}": value for place, value in enumerate(values)}
    assert tomllib.loads(to_toml(fields)) == fields
    for recipe in (
        Recipe(),
        make({"preset": "gatys"}),
        make({"style_layers": {"relu1_1": 0.1}, "style_weights": (1, 2), "stop": 1e-7}),
    ):
        assert make(tomllib.loads(to_toml(recipe.model_dump(mode="json")))).digest() == recipe.digest()


def test_what_a_recipe_says_is_what_makes_it():
    """Over presets, optimisers, statistics and single fields."""
    fields = [{}, {"iterations": (5,)}, {"content_weight": 0.3, "stop": 0.02}, {"crop": False, "seed": 4}]
    statistics = ["wasserstein", "gram", "sliced"]
    for preset, optimizer, statistic, more in itertools.product(
        ("draft", "standard", "gatys"), ("adam", "lbfgs"), statistics, fields
    ):
        recipe = make({"preset": preset, "optimizer": optimizer, "statistic": statistic} | more)
        again = said(make(recipe.model_dump()))
        assert make(again.model_dump(exclude_unset=True)) == recipe
        assert again == recipe
        assert len(again.model_fields_set) <= 3 + len(more)


def test_methods_and_bibtex_say_all_that_matters(compact_explained):
    e = Evidence(compact_explained.folder)
    text, network = methods.paragraph(e), e.facts["networks"][0]
    for words in (
        "compact",
        network["sha256"],
        "L-BFGS",
        "seed 0",
        e.game().criterion,
        "32 subsets",
        "64 px",
        "0.14",
        "8 subsets",
    ):
        assert words in text, words
    steps = sum(compact_explained.run.recipe.schedule())
    assert f"{steps} steps" in text
    entry = methods.bibtex(e)
    assert re.fullmatch(r"@software\{underpaint,\n(  \w+ = \{.+\},\n)+\}\n", entry)
    found = dict(re.findall(r"(\w+) = \{(.+)\}", entry))
    assert found["author"] == "{The underpaint developers}"
    assert found["year"] == "2026"
    assert found["version"] == underpaint.__version__
    assert all(entry.count(a) == entry.count(b) for a, b in ("{}",))
    page = (compact_explained.folder / "report.html").read_text(encoding="utf-8")
    assert network["sha256"] in page
