// Lesson 1 in C++17: hmm::buffer, the standard's containers in managed memory, and exceptions.
#include <hmmrt.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <numeric>
#include <vector>

static void expect(bool right, const char *what) {
    if (!right) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::exit(1);
    }
}

int main() {
    hmm::buffer<int> x(1 << 20);
    std::iota(x.begin(), x.end(), 0);
    std::printf("buffer: %zu pages went to the device\n", x.migrate(0));
    expect(x[4242] == 4242, "the CPU reads it as if nothing had happened");

    std::vector<double, hmm::allocator<double>> v(100000, 0.5);
    hmm::check(hmm_migrate(v.data(), v.size() * sizeof(double), 0, nullptr));
    std::printf("vector: sum %g\n", std::accumulate(v.begin(), v.end(), 0.0));

    hmm::memory_resource resource;
    std::pmr::vector<int> w({1, 2, 3}, &resource);
    expect(hmm_owns(w.data()), "the pmr vector's elements are managed");

    try {
        x.migrate(99);
        expect(false, "there is no device 99");
    } catch (const hmm::error &error) {
        std::printf("error %d: %s\n", error.code(), error.what());
    }
}

// > buffer: 1024 pages went to the device
// > vector: sum 50000
// > error -12: ...
