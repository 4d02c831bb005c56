// hmmrt.hpp: libhmmrt for C++17, over hmmrt.h. Header-only.
//
//   hmm::buffer<float> x(n);                     managed memory of its own, zeroed, freed by itself
//   x.migrate(0);                                to device 0; the CPU may go on using x[i]
//   std::vector<float, hmm::allocator<float>> v; managed memory in the standard's containers
//   std::pmr::vector<float> w(&resource);        the same with an hmm::memory_resource
//
// What fails throws hmm::error; allocations throw std::bad_alloc, as the standard's do. Threads and signal handlers: as
// hmmrt.h says; an hmm::buffer is as safe as a std::vector.

#ifndef HMMRT_HPP
#define HMMRT_HPP

#include "hmmrt.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace hmm {

/// A call that failed: its code, and its message (hmm_last_error) as what().
class error : public std::runtime_error {
public:
    /// Takes the message from this thread's last failing call, which must be the one that answered `code`.
    explicit error(hmm_status code) : std::runtime_error(last_message(code)), code_(code) {}

    hmm_status code() const noexcept { return code_; }

private:
    static std::string last_message(hmm_status code) {
        std::string text(hmm_last_error(nullptr, 0), '\0');
        if (text.empty()) {
            return hmm_strerror(code);
        }
        // The string has room for the NUL that hmm_last_error writes.
        hmm_last_error(text.data(), text.size() + 1);
        return text;
    }

    hmm_status code_;
};

/// Throws hmm::error unless `status` is HMM_OK: hmm::check(hmm_migrate(...)).
inline void check(hmm_status status) {
    if (status != HMM_OK) {
        throw error(status);
    }
}

/// The C library's version, and how many devices there are.
inline const char *version() noexcept { return hmm_version(); }
inline int device_count() noexcept { return hmm_device_count(); }

inline hmm_device_info_s device_info(int device) {
    hmm_device_info_s info{};
    info.struct_size = sizeof info;
    check(hmm_device_info(device, &info));
    return info;
}

inline hmm_stats stats() {
    hmm_stats stats{};
    stats.struct_size = sizeof stats;
    check(hmm_stats_get(&stats));
    return stats;
}

namespace detail {

/// `bytes` of managed memory aligned for `alignment`, or std::bad_alloc.
inline void *allocate(std::size_t bytes, std::size_t alignment) {
    void *block = alignment > alignof(std::max_align_t) ? hmm_aligned_alloc(alignment, bytes) : hmm_malloc(bytes);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    return block;
}

/// n * sizeof(T), or std::bad_array_new_length.
template <class T> std::size_t bytes_of(std::size_t n) {
    if (n > std::numeric_limits<std::size_t>::max() / 2 / sizeof(T)) {
        throw std::bad_array_new_length();
    }
    return n * sizeof(T);
}

}  // namespace detail

/// An allocator of managed memory. All of them are equal.
template <class T> class allocator {
public:
    using value_type = T;
    using size_type = std::size_t;
    using difference_type = std::ptrdiff_t;
    using propagate_on_container_move_assignment = std::true_type;
    using is_always_equal = std::true_type;

    allocator() noexcept = default;
    template <class U> allocator(const allocator<U> &) noexcept {}

    [[nodiscard]] T *allocate(std::size_t n) {
        return static_cast<T *>(detail::allocate(detail::bytes_of<T>(n), alignof(T)));
    }

    void deallocate(T *block, std::size_t) noexcept { hmm_free(block); }
};

template <class T, class U> bool operator==(const allocator<T> &, const allocator<U> &) noexcept { return true; }
template <class T, class U> bool operator!=(const allocator<T> &, const allocator<U> &) noexcept { return false; }

/// Managed memory for std::pmr. All of them are equal.
class memory_resource : public std::pmr::memory_resource {
protected:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override {
        return detail::allocate(bytes, alignment);
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override { hmm_free(block); }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        return dynamic_cast<const memory_resource *>(&other) != nullptr;
    }
};

/// An array of managed memory: zeroed, contiguous, freed by itself, moved but not copied. Its elements are trivially
/// copyable, because devices copy bytes. Elements that were never touched take no memory. An empty buffer has no memory,
/// and moving it does nothing.
template <class T> class buffer {
    static_assert(std::is_trivially_copyable_v<T>, "devices copy bytes: T must be trivially copyable");
    static_assert(!std::is_const_v<T>, "the buffer itself can be const");

public:
    using value_type = T;
    using size_type = std::size_t;
    using iterator = T *;
    using const_iterator = const T *;

    buffer() noexcept = default;

    /// `n` elements of zero bytes.
    explicit buffer(std::size_t n) : data_(zeroed(n)), size_(n) {}

    /// A copy of `n` elements.
    buffer(const T *from, std::size_t n) : buffer(n) {
        if (n != 0) {
            std::memcpy(static_cast<void *>(data_), from, size_bytes());
        }
    }
    buffer(std::initializer_list<T> from) : buffer(from.begin(), from.size()) {}

    buffer(buffer &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    buffer &operator=(buffer &&other) noexcept {
        buffer(std::move(other)).swap(*this);
        return *this;
    }
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer() { hmm_free(data_); }

    void swap(buffer &other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    friend void swap(buffer &a, buffer &b) noexcept { a.swap(b); }

    T *data() noexcept { return data_; }
    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    bool empty() const noexcept { return size_ == 0; }

    iterator begin() noexcept { return data_; }
    iterator end() noexcept { return data_ + size_; }
    const_iterator begin() const noexcept { return data_; }
    const_iterator end() const noexcept { return data_ + size_; }
    const_iterator cbegin() const noexcept { return begin(); }
    const_iterator cend() const noexcept { return end(); }

    T &operator[](std::size_t i) noexcept { return data_[i]; }
    const T &operator[](std::size_t i) const noexcept { return data_[i]; }
    T &at(std::size_t i) { return data_[checked(i)]; }
    const T &at(std::size_t i) const { return data_[checked(i)]; }
    T &front() noexcept { return data_[0]; }
    const T &front() const noexcept { return data_[0]; }
    T &back() noexcept { return data_[size_ - 1]; }
    const T &back() const noexcept { return data_[size_ - 1]; }

    /// Makes it `n` elements: the first ones stay, wherever they are (what is on a device stays on it), new ones are zero
    /// bytes. If it throws, nothing has changed.
    void resize(std::size_t n) {
        if (n == size_) {
            return;
        }
        const std::size_t bytes = detail::bytes_of<T>(n);
        if (n == 0 || size_ == 0) {
            buffer(n).swap(*this);
            return;
        }
        if constexpr (alignof(T) > alignof(std::max_align_t)) {
            // realloc keeps no more than the ordinary alignment.
            buffer larger(n);
            std::memcpy(static_cast<void *>(larger.data_), data_, n < size_ ? bytes : size_bytes());
            larger.swap(*this);
        } else {
            void *block = hmm_realloc(data_, bytes);
            if (block == nullptr) {
                throw std::bad_alloc();
            }
            data_ = static_cast<T *>(block);
            if (n > size_) {
                // Where old and new elements share a page, that page alone comes home, not its neighbourhood. If it
                // can't, memset waits for it as for any other.
                (void)hmm_host_ready(data_ + size_, 1, HMM_READ_WRITE);
                std::memset(static_cast<void *>(data_ + size_), 0, bytes - size_bytes());
            }
            size_ = n;
        }
    }

    /// The whole buffer's movement; see hmmrt.h.
    void prefetch(int location, hmm_stream stream = nullptr) const {
        if (!empty()) {
            check(hmm_prefetch(data_, size_bytes(), location, stream));
        }
    }
    std::size_t migrate(int location) const {
        std::size_t moved = 0;
        if (!empty()) {
            check(hmm_migrate(data_, size_bytes(), location, &moved));
        }
        return moved;
    }
    void advise(hmm_advice advice, int location = HMM_HOST) const {
        if (!empty()) {
            check(hmm_advise(data_, size_bytes(), advice, location));
        }
    }
    void host_ready(hmm_access_mode mode) const {
        if (!empty()) {
            check(hmm_host_ready(data_, size_bytes(), mode));
        }
    }
    void pin() const {
        if (!empty()) {
            check(hmm_pin(data_, size_bytes()));
        }
    }
    void unpin() const {
        if (!empty()) {
            check(hmm_unpin(data_, size_bytes()));
        }
    }
    void discard() {
        if (!empty()) {
            check(hmm_discard(data_, size_bytes()));
        }
    }

    /// Where its pages are: one element for each 4 KiB page that it touches.
    std::vector<hmm_page> pages() const {
        if (empty()) {
            return {};
        }
        constexpr std::size_t page = 4096;
        const std::size_t offset = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(data_) % page);
        std::vector<hmm_page> all((offset + size_bytes() + page - 1) / page);
        check(hmm_query(data_, size_bytes(), all.data(), all.size()));
        return all;
    }

    /// As an argument of hmm_launch, and as a range for hmm_acquire.
    hmm_arg arg(hmm_access_mode mode) const noexcept { return {HMM_ARG_POINTER, mode, data_, size_bytes()}; }
    hmm_access access(hmm_access_mode mode) const noexcept { return {data_, size_bytes(), mode}; }

private:
    static T *zeroed(std::size_t n) {
        const std::size_t bytes = detail::bytes_of<T>(n);
        if (n == 0) {
            return nullptr;
        }
        if constexpr (alignof(T) > alignof(std::max_align_t)) {
            void *block = detail::allocate(bytes, alignof(T));
            std::memset(block, 0, bytes);
            return static_cast<T *>(block);
        } else {
            void *block = hmm_calloc(n, sizeof(T));
            if (block == nullptr) {
                throw std::bad_alloc();
            }
            return static_cast<T *>(block);
        }
    }

    std::size_t checked(std::size_t i) const {
        if (i >= size_) {
            throw std::out_of_range("hmm::buffer::at");
        }
        return i;
    }

    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A value as an argument of hmm_launch, which copies it.
template <class T> hmm_arg arg(const T &value) noexcept {
    static_assert(std::is_trivially_copyable_v<T>, "launches copy bytes: T must be trivially copyable");
    return {HMM_ARG_VALUE, HMM_READ, &value, sizeof(T)};
}

}  // namespace hmm

#endif  // HMMRT_HPP
