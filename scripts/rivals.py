"""NumPy and Dask, to be measured in turn with peerlab: one line in, one line out.

    numpy N        seconds for one product of two N x N matrices of reals by NumPy
    files A B C    seconds to read the two .npy files A and B, multiply them by NumPy, and write C
    dask N         the same by Dask distributed: two workers of one thread each, blocks of N/2
    versions       what is compared with

The matrices are made before the clock starts, and each product is computed once before, so that nobody
pays for a first use.
"""

import sys
import time

if len(sys.argv) > 1:
    print(__doc__)
    sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)

import numpy as np

matrices = {}


def operands(n):
    if n not in matrices:
        matrices.clear()
        rng = np.random.default_rng(1)
        matrices[n] = (rng.uniform(-1, 1, (n, n)), rng.uniform(-1, 1, (n, n)))
        matrices[n][0] @ matrices[n][1]
    return matrices[n]


def by_numpy(n):
    a, b = operands(n)
    began = time.perf_counter()
    a @ b
    return time.perf_counter() - began


def by_files(a, b, c):
    began = time.perf_counter()
    np.save(c, np.load(a) @ np.load(b))
    return time.perf_counter() - began


cluster = None


def by_dask(n):
    import dask.array
    from distributed import Client, LocalCluster

    global cluster
    if cluster is None:
        cluster = Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
    a, b = (dask.array.from_array(matrix, chunks=n // 2) for matrix in operands(n))
    began = time.perf_counter()
    (a @ b).compute()
    return time.perf_counter() - began


def versions():
    import dask
    import distributed

    return f"numpy {np.__version__} dask {dask.__version__} distributed {distributed.__version__}"


def main():
    for line in sys.stdin:
        what, *rest = line.split()
        if what == "numpy":
            print(by_numpy(int(rest[0])), flush=True)
        elif what == "files":
            print(by_files(*rest), flush=True)
        elif what == "dask":
            print(by_dask(int(rest[0])), flush=True)
        else:
            print(versions(), flush=True)
    if cluster is not None:
        cluster.shutdown()


if __name__ == "__main__":
    main()
