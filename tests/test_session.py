"""What the session changes in the libraries under it."""

from pyspark.sql import functions as F


def test_java_is_asked_once_for_a_name(spark, monkeypatch):
    """Classes in Spark's own name space, classes by their full names, static methods; nested classes and fields too."""
    asked = []
    client = spark._jvm._gateway_client
    send = client.send_command
    monkeypatch.setattr(client, "send_command", lambda command, *rest: asked.append(command) or send(command, *rest))

    def use():
        column = F.concat(F.lit("a"), F.col("b"))
        year = spark._jvm.java.time.Year.of(2026).getValue()
        entry = spark._jvm.java.util.AbstractMap.SimpleEntry(1, 2).getValue()
        return str(column), year, entry, spark._jvm.java.lang.Long.MAX_VALUE

    first = use()
    asked.clear()
    assert use() == first == ("Column<'concat(a, b)'>", 2026, 2, 2**63 - 1)
    reflected = [command.split("\n")[2:4] for command in asked if command.startswith("r\n")]
    assert reflected == [["java.lang.Long", "MAX_VALUE"]]  # a field may change
