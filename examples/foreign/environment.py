"""Makes `.venv-foreign`, which the projects are trained in: what `.venv` has, and the projects beside it.

.venv/bin/python examples/foreign/environment.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOREIGN = ROOT / ".venv-foreign"
SITES = FOREIGN / "sites"
#: In the newest versions that go with what is held; what they need is installed with them.
PROJECTS = (
    "timm",
    "torch-geometric",
    "lightly",
    "segmentation-models-pytorch",
    "darts",
    "scvi-tools",
    "torch-uncertainty",
    "torchgeo",
    "neuralforecast",
    "chemprop",
    "disent",
    "monai",
    "x-transformers",
    "anomalib",
    "gluonts",
    "lightning-uq-box",
    "pytorch-metric-learning",
)
#: Projects that want other versions of something than the rest, each in a folder of its own with these.
APART = {
    "pytorch-forecasting": ("pytorch-forecasting==1.8.0", "pandas==3.0.6", "scikit-base==1.0.2"),
    "pytorch-tabular": (
        "pytorch-tabular==1.2.0",
        "pandas==2.3.3",
        "pytz==2026.6",
        "scikit-base==1.2.0",
        "torchmetrics==1.8.2",
    ),
}
#: What none of them may bring in another version of. The registry's torchvision fits this torch.
HELD = ("torch==2.13.0", "torchvision==0.28.0", "pytorch-lightning==2.6.6", "lightning==2.6.6")


def main() -> None:
    if not (FOREIGN / "bin" / "python").exists():
        venv.create(FOREIGN, with_pip=True)
    ask = [_python(), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(ask, text=True).strip())
    # After its own packages those of .venv, torch among them, which are found by pip as well.
    (packages / "of_venv.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    shutil.copy(HERE / "torchvision_for_cpu.py", packages)
    (packages / "torchvision_for_cpu.pth").write_text("import torchvision_for_cpu\n")
    held = FOREIGN / "held.txt"
    held.write_text("\n".join(HELD))
    _install("--no-deps", "torchvision==0.28.0")
    for name in PROJECTS:
        print(f"Installing {name} ...", flush=True)
        if not _install("--prefer-binary", "--constraint", str(held), name):
            print(f"{name} cannot be installed here.", flush=True)
    for name, requirements in APART.items():
        print(f"Installing {name} in a folder of its own ...", flush=True)
        if not (SITES / name).exists() and not _install("--no-deps", "--target", str(SITES / name), *requirements):
            print(f"{name} cannot be installed here.", flush=True)


def _python() -> str:
    return str(FOREIGN / "bin" / "python")


def _install(*arguments: str) -> bool:
    command = [_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
