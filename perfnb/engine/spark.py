"""Spark, by URL: `spark://local[2]`, `spark://host:7077`, or `sc://host:15002` (Spark Connect)."""

import contextlib
import itertools
import re

import sqlglot
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from perfnb.engine import connect, identifier
from perfnb.engine.dialects import as_duckdb, numbered
from perfnb.errors import UnreadableData


class Spark:
    """Runs statements, translated from DuckDB's dialect, on one Spark session."""

    name = "spark"
    errors = (PySparkException, Py4JError)

    def __init__(self, url):
        builder = SparkSession.builder.appName("perfnb")
        if url.startswith("sc://"):
            builder = builder.remote(url)
        else:
            master = url.removeprefix("spark://")
            builder = builder.master(master if master.startswith("local") else url)
        self.session = (
            builder.config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.session.timeZone", "UTC")
            .getOrCreate()
        )
        with contextlib.suppress(AttributeError):  # Spark Connect has no context on this side
            self.session.sparkContext.setLogLevel("ERROR")
        if url.startswith("spark://local"):
            # Two hundred shuffle partitions are for clusters; on one machine they are only overhead.
            self.session.conf.set("spark.sql.shuffle.partitions", "4")
        self._names = (f"perfnb_{n}" for n in itertools.count())

    def micros(self, expression):
        return f"UNIX_MICROS({expression})"

    def utc(self, expression, type):
        if type == "VARCHAR":
            return f"TRY_CAST({expression} AS TIMESTAMPTZ)"
        return f"CAST({expression} AS TIMESTAMPTZ)"

    def from_micros(self, expression):
        return f"TIMESTAMP_MICROS({expression})"

    def csv(self, path, columns, delimiter):
        # Spark replaces bytes that are no UTF-8 and reads on over an open quote: DuckDB goes first, which refuses both.
        seen = ", ".join(f"COUNT({identifier(name)})" for name in columns)
        duck = connect("duckdb")
        duck.fetch(f"SELECT {seen} FROM ({duck.csv(path, columns, delimiter)}) AS t")
        frame = self.session.read.csv(
            _escaped(path),
            header=True,
            sep=delimiter,
            quote='"',
            escape='"',
            multiLine=True,
            mode="FAILFAST",
            schema=", ".join(f"`{name.replace('`', '``')}` STRING" for name in columns),
            enforceSchema=True,
        )
        return self._view(frame)

    def parquet(self, paths):
        return self._view(self.session.read.option("mergeSchema", "true").parquet(*(_escaped(path) for path in paths)))

    def frame(self, arrow):
        return self._view(self.session.createDataFrame(arrow))

    def columns(self, sql):
        types = {"string": "VARCHAR", "timestamp_ntz": "TIMESTAMP", "timestamp": "TIMESTAMP WITH TIME ZONE"}
        return {name: types.get(type, type.upper()) for name, type in self.session.sql(self._translate(sql)).dtypes}

    def keep(self, sql):
        frame = self.session.sql(self._translate(sql)).cache()
        return self._view(frame)

    def drop(self, sql):
        """Nothing to do: Spark keeps rows as long as later ones are computed from them."""

    def fetch(self, sql):
        """The result of a statement as a pandas frame, in the types that DuckDB gives."""
        try:
            return as_duckdb(self.session.sql(self._translate(sql)).toArrow()).to_pandas()
        except self.errors as error:
            raise UnreadableData(self.cause(error)) from None

    def sums(self, sql, texts):
        """{column: array}; of `texts` (each row's place in the names, −1 for none; the names)."""
        return numbered(self.fetch(sql), texts)

    def cause(self, error):
        """What an engine's error says, in one line: of Java's, the deepest cause."""
        causes = re.findall(r"^Caused by: (?:[\w.$]+: )?(.+)$", str(error), re.MULTILINE)
        return causes[-1] if causes else next(iter(str(error).strip().splitlines()), type(error).__name__)

    def _view(self, frame):
        name = next(self._names)
        frame.createOrReplaceTempView(name)
        return f"SELECT * FROM {identifier(name)}"

    @staticmethod
    def _translate(sql):
        return sqlglot.transpile(sql, read="duckdb", write="spark")[0]


def _escaped(path):
    """The path with the letters that Hadoop takes for patterns taken for themselves."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path))
