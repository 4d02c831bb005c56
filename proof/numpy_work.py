"""What people do with numpy, at the size given, each result printed as a checksum."""

import hashlib
import multiprocessing
import os
import sys
import threading

import numpy as np


def show(what, array):
    array = np.ascontiguousarray(array)
    print(what, array.dtype, array.shape, hashlib.sha256(array.view(np.uint8)).hexdigest()[:24], flush=True)


def child(pipe, array):
    pipe.send(int(array.sum()))
    array[::3] = 7
    pipe.send(int(array.sum()))
    pipe.close()


def main():
    size = int(sys.argv[1]) << 18
    rng = np.random.default_rng(42)
    a = rng.integers(0, 1 << 40, size)
    show("integers", a)
    show("sort", np.sort(a))
    show("stable argsort", np.argsort(a & 0xFFFF, kind="stable"))
    show("unique", np.unique(a & 0xFFFFF))
    show("cumsum", np.cumsum(a))
    show("where", a[np.where(a % 7 == 0)])
    show("histogram", np.histogram(a, bins=1000)[0])

    f = rng.standard_normal(size)
    show("sqrt and sin", np.sin(np.sqrt(np.abs(f))))
    show("fft", np.fft.rfft(f[: 1 << 18]))
    m = f[: 700 * 700].reshape(700, 700)
    show("product", m @ m.T)
    show("inverse", np.linalg.inv(m + 700 * np.eye(700)))
    show("singular values", np.linalg.svd(m[:200, :200], compute_uv=False))
    show("transposed", m.T.copy())
    show("strides", np.lib.stride_tricks.sliding_window_view(f[:20000], 50)[::7].sum(axis=1))

    grown = np.empty(0, np.int64)
    for i in range(60):
        grown = np.concatenate([grown, a[i * 1000 : i * 3000 + 1000]])
    grown.resize(grown.size * 2, refcheck=False)
    show("grown", grown)

    np.save("a.npy", a)
    np.savez_compressed("both.npz", a=a[: size // 4], f=f[: size // 4])
    a.tofile("a.raw")
    show("loaded", np.load("a.npy"))
    show("mapped", np.load("a.npy", mmap_mode="r")[::5])
    show("from a file", np.fromfile("a.raw", dtype=np.int64))
    with open("a.raw", "rb") as file:
        target = np.empty_like(a)
        print("readinto", file.readinto(target))
        show("readinto", target)
    with np.load("both.npz") as both:
        show("compressed", both["f"])
    with open("v", "wb") as file:
        os.writev(file.fileno(), [a[: size // 2], f[: size // 2]])
    show("writev", np.fromfile("v", dtype=np.int64))

    text = np.array([f"row {i * 7919 % 1000}" for i in range(50000)])
    show("strings", np.char.upper(text))
    objects = np.array([str(i) for i in range(100000)], dtype=object)
    print("objects", hashlib.sha256("".join(objects).encode()).hexdigest()[:24])

    results = [None] * 4

    def part(i):
        piece = a[i * size // 4 : (i + 1) * size // 4].copy()
        for _ in range(3):
            piece.sort()
            piece ^= 0x5555
        results[i] = piece

    threads = [threading.Thread(target=part, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show("threads", np.concatenate(results))

    context = multiprocessing.get_context("fork")
    children = []
    for i in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=child, args=(theirs, a))
        process.start()
        a[i] += 1
        children.append((ours, process))
    print("children", [[pipe.recv(), pipe.recv()] for pipe, _ in children])
    for _, process in children:
        process.join()
        print("child", process.exitcode)
    show("at the end", a)


if __name__ == "__main__":
    main()
