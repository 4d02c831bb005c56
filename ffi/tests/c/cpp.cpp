// hmmrt.hpp: the allocator and the resource in the standard's containers, the buffer, and what they throw.

#include <cstdint>
#include <list>
#include <map>
#include <numeric>
#include <string>
#include <unordered_map>

#include "check.h"
#include "hmmrt.hpp"

static_assert(!std::is_copy_constructible_v<hmm::buffer<int>> && !std::is_copy_assignable_v<hmm::buffer<int>>);
static_assert(std::is_nothrow_move_constructible_v<hmm::buffer<int>>);
static_assert(std::is_nothrow_move_assignable_v<hmm::buffer<int>>);
static_assert(std::is_base_of_v<std::exception, hmm::error>);
static_assert(std::allocator_traits<hmm::allocator<int>>::is_always_equal::value);
static_assert(std::is_same_v<std::allocator_traits<hmm::allocator<int>>::rebind_alloc<char>, hmm::allocator<char>>);

namespace {

struct alignas(256) aligned {
    int value;
};

// The exception that a call throws, or none.
template <class E, class F> bool throws(F call) {
    try {
        call();
    } catch (const E &) {
        return true;
    } catch (...) {
    }
    return false;
}

void allocator() {
    std::vector<int, hmm::allocator<int>> v;
    for (int i = 0; i < 1000000; i++) v.push_back(i);
    CHECK(hmm_owns(v.data()) && hmm_owns(&v.back()));
    OK(hmm_migrate(v.data(), v.size() * sizeof(int), 0, nullptr));
    CHECK(std::accumulate(v.begin(), v.end(), std::int64_t{0}) == std::int64_t{999999} * 1000000 / 2);
    auto moved = std::move(v);
    CHECK(moved.size() == 1000000 && moved[77] == 77);

    // Rebound, and between types.
    std::map<int, int, std::less<int>, hmm::allocator<std::pair<const int, int>>> tree;
    std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, hmm::allocator<std::pair<const int, int>>> table;
    std::list<int, hmm::allocator<int>> list;
    for (int i = 0; i < 1000; i++) {
        tree[i] = i;
        table[i] = i;
        list.push_back(i);
    }
    CHECK(hmm_owns(&tree[500]) && hmm_owns(&table[500]) && hmm_owns(&list.back()));
    hmm::allocator<int> ints;
    hmm::allocator<char> chars(ints);
    CHECK(ints == chars && !(ints != chars));

    std::vector<aligned, hmm::allocator<aligned>> wide(3);
    for (auto &x : wide) CHECK(reinterpret_cast<std::uintptr_t>(&x) % 256 == 0);

    CHECK(throws<std::bad_array_new_length>([&] { ints.deallocate(ints.allocate(SIZE_MAX / 2), 1); }));
    CHECK(!throws<std::bad_array_new_length>([&] { chars.deallocate(chars.allocate(PTRDIFF_MAX - 4096), 1); }));
    CHECK(throws<std::bad_alloc>([&] { chars.deallocate(chars.allocate(PTRDIFF_MAX - 4096), 1); }));
    int *none = ints.allocate(0);
    CHECK(none != nullptr);
    ints.deallocate(none, 0);
}

void memory_resource() {
    hmm::memory_resource a, b;
    CHECK(a == b && a != *std::pmr::new_delete_resource());
    std::pmr::vector<std::pmr::string> v(&a);
    for (int i = 0; i < 1000; i++) v.emplace_back("a string that is too long to be kept inside its own object");
    CHECK(hmm_owns(&v[500]) && hmm_owns(v[500].data()));
    void *p = a.allocate(100, 4096);
    CHECK(reinterpret_cast<std::uintptr_t>(p) % 4096 == 0);
    b.deallocate(p, 100, 4096);
    void *wide[4];
    for (void *&q : wide) CHECK(reinterpret_cast<std::uintptr_t>(q = a.allocate(100, 1 << 20)) % (1 << 20) == 0);
    for (void *q : wide) a.deallocate(q, 100, 1 << 20);
    CHECK(throws<std::bad_alloc>([&] { (void)a.allocate(PTRDIFF_MAX, 8); }));
    p = a.allocate(0, 8);
    CHECK(p != nullptr);
    a.deallocate(p, 0, 8);
}

void buffer() {
    const std::uint64_t managed = hmm::stats().managed_bytes;
    {
        hmm::buffer<std::uint32_t> x(1000000);
        CHECK(x.size() == 1000000 && x.size_bytes() == 4000000 && !x.empty() && hmm_owns(x.data()));
        for (std::uint32_t i : x) CHECK(i == 0);
        std::iota(x.begin(), x.end(), 5u);
        CHECK(x.front() == 5 && x.back() == 1000004 && x[10] == 15 && x.at(11) == 16);
        const auto &view = x;
        CHECK(view.end() - view.begin() == 1000000 && view.cbegin()[3] == 8 && *(view.cend() - 1) == view.back());
        CHECK(view.at(0) == view.front() && view.data() == x.data());
        CHECK(throws<std::out_of_range>([&] { (void)view.at(1000000); }));

        CHECK(x.migrate(0) >= 4000000 / 4096);
        for (const hmm_page &page : x.pages()) CHECK(page.device == 0 && (page.flags & HMM_PAGE_DEVICE));
        CHECK(x[77] == 82);
        x.prefetch(HMM_HOST);
        hmm::check(hmm_stream_synchronize(nullptr));
        x.advise(HMM_ADVISE_SEQUENTIAL);
        x.advise(HMM_ADVISE_PREFERRED_LOCATION, 0);
        x.pin();
        CHECK(throws<hmm::error>([&] { x.migrate(0); }));
        x.unpin();
        x.host_ready(HMM_READ_WRITE);

        // What is on the device stays there when it grows; what is new is zero.
        x.migrate(0);
        const std::uint64_t home = hmm::stats().bytes_to_host;
        x.resize(3000000);
        CHECK(hmm::stats().bytes_to_host - home < 8192);
        for (std::uint32_t i = 0; i < 1000000; i++) CHECK(x[i] == i + 5);
        for (std::uint32_t i = 1000000; i < 3000000; i++) CHECK(x[i] == 0);
        x.resize(10);
        CHECK(x.size() == 10 && x.back() == 14);
        CHECK(throws<std::bad_array_new_length>([&] { x.resize(SIZE_MAX / 2); }));
        CHECK(throws<std::bad_alloc>([&] { x.resize(PTRDIFF_MAX / 8); }));
        CHECK(x.size() == 10 && x.back() == 14);

        hmm::buffer<std::uint32_t> y(std::move(x));
        CHECK(x.empty() && x.data() == nullptr && y.size() == 10 && y[9] == 14);
        x = hmm::buffer<std::uint32_t>{1, 2, 3};
        swap(x, y);
        CHECK(y.size() == 3 && y[2] == 3 && x.size() == 10);
        x = std::move(y);
        CHECK(x.size() == 3 && y.empty());
        auto &self = x;
        x = std::move(self);
        CHECK(x.size() == 3 && x[0] == 1);
        x.discard();
        x.resize(0);
        CHECK(x.empty());
        x.resize(2);
        CHECK(x[0] == 0 && x[1] == 0);
        const std::uint32_t from[] = {9, 8, 7};
        hmm::buffer<std::uint32_t> copy(from, 3);
        CHECK(copy[0] == 9 && copy[2] == 7);

        hmm::buffer<aligned> wide(5);
        wide[4].value = 44;
        wide.resize(50);
        CHECK(reinterpret_cast<std::uintptr_t>(wide.data()) % 256 == 0 && wide[4].value == 44 && wide[49].value == 0);
        wide.resize(5);
        CHECK(wide[4].value == 44);

        // New elements are zero also where old ones were.
        hmm::buffer<int> again(100000);
        for (int &i : again) i = -1;
        again.resize(80000);
        again.resize(100000);
        for (int i = 0; i < 100000; i++) CHECK(again[i] == (i < 80000 ? -1 : 0));

        // Empty ones have no memory, and nothing to move.
        hmm::buffer<int> none(0);
        none.prefetch(0);
        none.advise(HMM_ADVISE_RANDOM);
        none.pin();
        none.unpin();
        none.discard();
        none.host_ready(HMM_READ);
        CHECK(none.migrate(0) == 0 && none.pages().empty() && none.begin() == none.end());
    }
    CHECK(hmm::stats().managed_bytes == managed);
}

void launches() {
    hmm::buffer<float> x(100000), y(100000);
    for (std::size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>(i % 100), y[i] = 1;
    hmm_module module;
    hmm_kernel kernel;
    hmm::check(hmm_module_builtin(0, &module));
    hmm::check(hmm_kernel_get(module, "hmm_saxpy", &kernel));
    const float a = 2;
    const std::uint64_t n = x.size();
    const hmm_arg args[] = {y.arg(HMM_READ_WRITE), x.arg(HMM_READ), hmm::arg(a), hmm::arg(n)};
    const hmm_launch_config config = {sizeof config, {400, 1, 1}, {256, 1, 1}, 0, nullptr};
    hmm::check(hmm_launch(kernel, &config, args, 4));
    for (std::size_t i = 0; i < n; i++) CHECK(y[i] == 1 + 2 * static_cast<float>(i % 100));
    const hmm_access access = x.access(HMM_READ);
    hmm::check(hmm_acquire(0, nullptr, &access, 1));
    hmm::check(hmm_release(0, nullptr));
}

void errors() {
    int local = 0;
    hmm::check(HMM_OK);
    try {
        hmm::check(hmm_migrate(&local, sizeof local, 0, nullptr));
        CHECK(!"reached");
    } catch (const hmm::error &error) {
        CHECK(error.code() == HMM_ERR_NOT_MANAGED);
        CHECK(std::string(error.what()).rfind("hmm_migrate: ptr", 0) == 0);
        const hmm::error copy(error);
        CHECK(std::string(copy.what()) == error.what() && copy.code() == error.code());
    }
    try {
        hmm::buffer<int> x(10);
        x.prefetch(99);
        CHECK(!"reached");
    } catch (const std::exception &error) {
        CHECK(std::string(error.what()).find("99") != std::string::npos);
    }
    CHECK(throws<hmm::error>([] { (void)hmm::device_info(7); }));
    CHECK(std::string(hmm::device_info(0).backend) == "host" && hmm::device_count() == 1);
    CHECK(std::string(hmm::version()) == "0.1.0");
}

}  // namespace

int main() {
    PART(allocator);
    PART(memory_resource);
    PART(buffer);
    PART(launches);
    PART(errors);
    std::printf("all well\n");
    return 0;
}
