"""The wheel, beside a project that has its own graphs/ and tools/."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("armap_agents", "graphs", "reward", "tools", "training")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(out), str(ROOT)]
    subprocess.run(command, check=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*"):
            if (
                file.suffix
                in {".py", ".json", ".txt", ".typed", ".html", ".css", ".js", ".toml", ".svg"}
                and "__pycache__" not in file.parts
            ):
                place = file.relative_to(ROOT).as_posix()
                name = place if package == "armap_agents" else f"armap_agents/{place}"
                assert name in inside, f"{place} is not in the wheel: is it in pyproject.toml?"
    assert not {name.split("/")[0] for name in inside} & {"graphs", "reward", "tools", "training"}


@pytest.mark.slow
def test_installed_beside_a_project_with_its_own_graphs_and_tools(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies come from the environment that runs the tests, without its own armap_agents.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    project = tmp_path / "project"
    for name in ("graphs", "tools", "reward", "training"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(f"whose = 'foreign {name}'\n")
    code = (
        "import graphs, tools, reward, training\n"
        "assert graphs.whose == 'foreign graphs' and tools.whose == 'foreign tools'\n"
        "import armap_agents.graphs.best_of_n, armap_agents.tools.game24, armap_agents.reward\n"
        "import armap_agents.training\n"
        "env = armap_agents.make_environment('game24')\n"
        "print(len(env.tasks('test')), armap_agents.graphs.__file__)\n"
    )
    shown = subprocess.run(
        [python, "-c", code], cwd=project, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown[0] == "100"
    assert Path(shown[1]).is_relative_to(site)
