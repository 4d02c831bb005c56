# what: numpy: arrays that grow, sort, transform, multiply, are saved, mapped and shared with child processes
# needs: python3
# packages: python3-venv, and numpy 2.2.6 from PyPI
# seconds: 600
# overhead
# quick
prepare() { venv numpy==2.2.6; }
# One thread for BLAS: how many share a product decides how it is rounded.
work() { OPENBLAS_NUM_THREADS=1 under "$INPUT/venv/bin/python" "$here/numpy_work.py" "$(sized 6 2)"; }
