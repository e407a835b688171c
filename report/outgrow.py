#!/usr/bin/env python3
"""Multiplies two matrices with Dask, block by block, and compares with the product that peerlab wrote.

Usage: outgrow.py A.npy B.npy C.npy        needs: pip install 'dask[array]'
"""
import sys

import dask.array as da
import numpy as np

# The files stay on the disk; Dask reads the blocks that it works on, and no others.
a, b, c = (da.from_array(np.load(path, mmap_mode="r"), chunks=1024) for path in sys.argv[1:])
differs, most = da.compute(abs(a @ b - c).max(), abs(a).max() * abs(b).max())
# Sums of whole numbers are exact; those of reals may differ in their last digits.
allowed = a.shape[1] ** 2 * np.finfo(float).eps * most
print(f"{a.shape} x {b.shape}: the two products differ by {differs:.3g} at most; rounding explains {allowed:.3g}")
sys.exit(0 if differs <= allowed else 5)
