"""Nothing: spark-submit needs a program while it resolves jars."""
