"""Spark, by URL: `spark://local[2]`, `spark://host:7077`, or `sc://host:15002` (Spark Connect)."""

import contextlib
import itertools

import sqlglot
from pyspark.sql import SparkSession

from perfnb.engine import identifier
from perfnb.errors import UnreadableData


class Spark:
    """Runs statements, translated from DuckDB's dialect, on one Spark session."""

    name = "spark"

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

    def from_epoch(self, expression, per_second):
        return f"TIMESTAMP_MICROS(CAST(FLOOR({expression} * {1_000_000 / per_second}) AS BIGINT))"

    def csv(self, path, columns, delimiter):
        frame = self.session.read.csv(
            str(path),
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

    def parquet(self, pattern):
        return self._view(self.session.read.option("mergeSchema", "true").parquet(pattern))

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
        return self._run(sql).toArrow().to_pandas()

    def _run(self, sql):
        from pyspark.errors import PySparkException

        try:
            return self.session.sql(self._translate(sql))
        except PySparkException as error:
            raise UnreadableData(str(error).splitlines()[0]) from None

    def _view(self, frame):
        name = next(self._names)
        frame.createOrReplaceTempView(name)
        return f"SELECT * FROM {identifier(name)}"

    @staticmethod
    def _translate(sql):
        return sqlglot.transpile(sql, read="duckdb", write="spark")[0]
