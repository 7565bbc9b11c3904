"""What tests share: the sample shop, public data beside the repository, the engines, small workspaces."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from perfnb import workspace

ROOT = Path(__file__).resolve().parent.parent
SPARK = "spark://local[2]"
CHDB = "chdb://"


def pytest_configure(config):
    config.addinivalue_line("markers", "spark: runs on Spark (needs pyspark and Java; about a second per query)")
    config.addinivalue_line("markers", "chdb: runs on ClickHouse in this process (needs chdb)")


@pytest.fixture(scope="session")
def samples():
    """The folder of the made-up shop."""
    return ROOT / "data_samples"


@pytest.fixture(scope="session")
def shared():
    """The folder of public data, which is not part of the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the public data lie outside the project")
    return folder


@pytest.fixture(scope="session")
def spark():
    """The URL of Spark on this machine; one session serves the whole run."""
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    if importlib.util.find_spec("sqlglot") is None:
        pytest.skip("sqlglot is not installed")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: Spark needs it")
    return SPARK


@pytest.fixture(scope="session")
def chdb():
    """The URL of ClickHouse in this process; one serves the whole run."""
    for package in ("chdb", "sqlglot"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return CHDB


@pytest.fixture(
    params=["duckdb", pytest.param(SPARK, marks=pytest.mark.spark), pytest.param(CHDB, marks=pytest.mark.chdb)]
)
def engine(request):
    """The URL of each engine in turn."""
    fixtures = {SPARK: "spark", CHDB: "chdb"}
    return request.getfixturevalue(fixtures[request.param]) if request.param in fixtures else request.param


@pytest.fixture
def workspace_of(engine):
    """A function that opens frames ({"touchpoints": frame}) as a workspace on the engine (or another one)."""

    def opened(frames, engine=engine, **options):
        return workspace.open(frames, engine=engine, **options)

    return opened
