# On Colab this installs hierlib and nothing else; elsewhere it says how to, where hierlib is missing.
import importlib.util
import subprocess
import sys

address = "git+https://github.com/hierlib/hierlib@main"
if "google.colab" in sys.modules:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", address], check=True)
elif importlib.util.find_spec("hierlib") is None:
    sys.exit(f"hierlib is not installed here. In a cell of its own, run:  %pip install {address}")
