// Scratch: memory that lives until the end of the current callback of a loop.
//
// Rewritten heads and chunk framing are built here and handed to the kernel
// before the callback returns; what the kernel does not take is copied by the
// stream. So nothing is ever freed one by one: reset() takes all back. The
// first block is kept, further ones (a head of unusual size) are let go.
//
// Under AddressSanitizer what is not allocated is poisoned, so that writing past
// the latest allocation is found although the block goes on.
//
// Thread: the loop's.
#pragma once

#include <sanitizer/asan_interface.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace sluice::proxy {

class Scratch {
 public:
  static constexpr size_t kBlockBytes = 64 * 1024;

  Scratch() : first_(std::make_unique<char[]>(kBlockBytes)) { reset(); }

  // Never null; not aligned for anything but octets. O(1).
  char* allocate(size_t bytes) {
    if (bytes > left_) grow(bytes);
    char* const result = next_;
    ASAN_UNPOISON_MEMORY_REGION(result, bytes);
    next_ += bytes;
    left_ -= bytes;
    return result;
  }

  // Gives back the end of the latest allocation.
  void shrink(char* end) {
    ASAN_POISON_MEMORY_REGION(end, static_cast<size_t>(next_ - end));
    left_ += static_cast<size_t>(next_ - end);
    next_ = end;
  }

  void reset() {
    if (!further_.empty()) further_.clear();
    begin(first_.get(), kBlockBytes);
  }

 private:
  void begin(char* block, size_t size) {
    ASAN_POISON_MEMORY_REGION(block, size);
    next_ = block;
    left_ = size;
  }
  void grow(size_t bytes) {
    const size_t size = bytes > kBlockBytes ? bytes : kBlockBytes;
    further_.push_back(std::make_unique<char[]>(size));
    begin(further_.back().get(), size);
  }

  std::unique_ptr<char[]> first_;
  char* next_ = nullptr;
  size_t left_ = 0;
  std::vector<std::unique_ptr<char[]>> further_;
};

}  // namespace sluice::proxy
