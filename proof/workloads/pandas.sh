# what: pandas: group, join, pivot, resample, CSV, pickles
# needs: python3
# packages: python3-venv, and numpy 2.2.6 and pandas 2.3.3 from PyPI
# seconds: 600
# overhead
prepare() { venv numpy==2.2.6 pandas==2.3.3; }
work() { OPENBLAS_NUM_THREADS=1 under "$INPUT/venv/bin/python" "$here/pandas_work.py" "$(sized 300000 50000)"; }
