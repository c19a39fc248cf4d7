"""Find labels that look wrong, categories that the labels confuse, and categories that lack labels."""

from shelfmark.labels import examples, persons
from shelfmark.run import Run
from shelfmark.text import audit, issues


def main(run: Run) -> None:
    catalogue, labels, taxonomy = (run.read(f"silver.{name}") for name in ("catalogue", "labels", "taxonomy"))
    words = persons.words(run.read("silver.reviews"), run.read("silver.duplicates"), taxonomy)
    labels = persons.first(labels, persons.teaching(words))
    rows = examples.labelled(catalogue, labels, run.read("silver.splits")).cache()
    said = audit.audit(rows, taxonomy, run.settings, run.scratch("audit"))
    run.write("gold.label_issues", run.stamped(issues.label_issues(said, labels, catalogue, taxonomy)))
    groups = run.read("silver.leak_groups")
    run.write("gold.category_issues", run.stamped(issues.category_issues(said, labels, groups, catalogue, taxonomy)))
    run.write("gold.category_needs", run.stamped(issues.category_needs(said, taxonomy, run.settings.metrics.target_f1)))
    run.note(audited=said.count())
